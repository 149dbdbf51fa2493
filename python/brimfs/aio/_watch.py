"""What happens to files, for `async for`."""

from __future__ import annotations

import asyncio
from typing import Self

from brimfs import _brimfs
from brimfs._brimfs import Event
from brimfs.aio._events import hearing


class Watch:
    """What happens below a path; `FileSystem.watch` makes it.

    `async for` goes through the events and ends when there will be none any more. Waiting takes no
    thread, and who is cancelled meanwhile loses no event. Tasks that share it share its events.
    """

    def __init__(self, watch: _brimfs.Watch) -> None:
        self._watch = watch
        self._turn = asyncio.Lock()

    async def read(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event and return it.

        None if there was none in time (seconds), or there will be none any more.
        """
        loop = asyncio.get_running_loop()
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout should be 0 or more seconds, not {timeout!r}")
        end = None if timeout is None else loop.time() + timeout
        async with self._turn:
            while True:
                has_ended = self._watch.closed
                event = self._watch.read(0)
                if event is not None or has_ended:
                    return event
                left = None if end is None else end - loop.time()
                if left is not None and left <= 0:
                    return None
                with hearing() as (events, number, future):
                    self._watch._call(events, number)
                    await asyncio.wait([future], timeout=left)

    async def close(self) -> None:
        """Stop watching, and forget what was not read. Closing twice is fine."""
        self._watch.close()

    @property
    def closed(self) -> bool:
        """Whether nothing new will come; what came before can still be read."""
        return self._watch.closed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if event := await self.read():
            return event
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self._watch).replace("brimfs.", "brimfs.aio.", 1)
