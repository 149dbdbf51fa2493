"""Iterating over names, and files on their way into memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, AnyStr, Generic, Self

from brimfs import _brimfs
from brimfs._brimfs import DirEntry, PreloadReport
from brimfs.aio._calls import Caller
from brimfs.aio._threads import in_thread

_BATCH = 64
"""So many steps are made before others have their turn."""

_LOOKS = 0.005, 0.1
"""Seconds between two looks at what is done in the background: at first, and at most."""


class ScanIterator(Generic[AnyStr]):
    """The entries of a directory, for `async for`; with `async with` it is closed at the end."""

    def __init__(self, caller: Caller, path: Any) -> None:
        self._caller = caller
        self._path = path
        self._entries: _brimfs.ScanIterator[AnyStr] | None = None
        self._steps = 0

    async def _scan(self) -> _brimfs.ScanIterator[AnyStr]:
        if self._entries is not None:
            return self._entries
        scan: Callable[..., Any] = self._caller._fs.scandir
        is_prompt = self._caller._looks_at_once
        made: _brimfs.ScanIterator[AnyStr]
        made = await self._caller._call(is_prompt, (), scan, (self._path,), {})
        self._entries = made
        return made

    async def close(self) -> None:
        """Forget the rest. Closing twice is fine."""
        if self._entries is not None:
            self._entries.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DirEntry[AnyStr]:
        entries = await self._scan()
        self._steps += 1
        if self._steps % _BATCH == 0:
            await asyncio.sleep(0)
        entry = next(entries, None)
        if entry is None:
            raise StopAsyncIteration
        return entry

    async def __aenter__(self) -> Self:
        await self._scan()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()


_Level = tuple[Any, list[Any], list[Any]]


async def walk(
    caller: Caller,
    top: Any,
    topdown: bool,
    onerror: Callable[[OSError], object] | None,
    followlinks: bool,
) -> AsyncIterator[_Level]:
    """`FileSystem.walk`, one directory after the other; others have their turn between them."""
    levels: Iterator[_Level] = caller._fs.walk(top, topdown, onerror, followlinks)
    while True:
        if caller._looks_at_once:
            await asyncio.sleep(0)
            level = next(levels, None)
        else:
            level = await in_thread(next, levels, None)
        if level is None:
            return
        yield level


class Preload:
    """Files on their way into memory; `FileSystem.preload` begins it."""

    def __init__(self, preload: _brimfs.Preload) -> None:
        self._preload = preload

    @property
    def id(self) -> int:
        """A number that grows from one preload to the next."""
        return self._preload.id

    def done(self) -> bool:
        """Whether it has ended."""
        return self._preload.done()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, or so many seconds, and return whether it has.

        It goes on if this is cancelled.
        """
        if self._preload.wait(0):
            return True
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + _seconds(timeout)
        pause, longest = _LOOKS
        while not self.done():
            left = longest if end is None else end - loop.time()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, longest)
        return True

    def result(self) -> PreloadReport:
        """What it did, once it has ended; see `brimfs.Preload.result`."""
        return self._preload.result()

    def cancel(self) -> None:
        """End it early. What came in stays."""
        self._preload.cancel()

    def __repr__(self) -> str:
        return repr(self._preload).replace("brimfs.", "brimfs.aio.", 1)


def _seconds(timeout: float) -> float:
    if not timeout >= 0:
        raise ValueError(f"timeout should be 0 or more seconds, not {timeout!r}")
    return timeout
