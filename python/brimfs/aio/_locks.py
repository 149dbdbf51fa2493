"""Waiting for file locks as a task: one thread listens for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
from typing import Any

from brimfs._brimfs import FileSystem, _LockEvents, _LockTicket
from brimfs.aio._threads import in_thread

_Future = asyncio.Future[None]


class _Listener:
    """Tells tasks of the locks that they were granted."""

    def __init__(self) -> None:
        self.events = _LockEvents()
        self.numbers = itertools.count()
        self.waiting: dict[int, tuple[asyncio.AbstractEventLoop, _Future]] = {}
        # It waits for events of this process, which end with it.
        threading.Thread(target=self._listen, name="brimfs-aio-locks", daemon=True).start()

    def _listen(self) -> None:
        while True:
            for number in self.events.wait():
                # Who is not there any more has left the queue, or is about to.
                if entry := self.waiting.pop(number, None):
                    loop, future = entry
                    # A loop that is closed has no tasks.
                    with contextlib.suppress(RuntimeError):
                        loop.call_soon_threadsafe(_tell, future)


def _tell(future: _Future) -> None:
    if not future.done():
        future.set_result(None)


_listener: _Listener | None = None
_making = threading.Lock()


def _listening() -> _Listener:
    global _listener
    with _making:
        if _listener is None:
            _listener = _Listener()
        return _listener


def _forget() -> None:
    global _listener, _making
    _listener, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


async def granted(
    filesystem: FileSystem, path: Any, exclusive: bool, timeout: float | None
) -> _LockTicket | None:
    """The lock of a file, once it is free; None if that takes too long.

    Who is cancelled leaves the queue, and keeps no lock.
    """
    listener = _listening()
    number = next(listener.numbers)
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    listener.waiting[number] = loop, future
    arguments = path, exclusive, listener.events, number
    try:
        if filesystem._waits == "all":
            ticket = await in_thread(filesystem._queue, *arguments)
        else:
            ticket = filesystem._queue(*arguments)
        try:
            if not ticket.granted:
                await asyncio.wait([future], timeout=timeout)
        except BaseException:
            ticket.leave()
            raise
        if ticket.granted:
            return ticket
        ticket.leave()
        return None
    finally:
        listener.waiting.pop(number, None)
