"""How tasks hear of what happens on other threads: one thread listens for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
from collections.abc import Iterator

from brimfs._brimfs import _LockEvents

_Future = asyncio.Future[None]


class _Listener:
    """Tells tasks of the numbers that come."""

    def __init__(self) -> None:
        self.events = _LockEvents()
        self.numbers = itertools.count()
        self.waiting: dict[int, tuple[asyncio.AbstractEventLoop, _Future]] = {}
        # It waits for events of this process, which end with it.
        threading.Thread(target=self._listen, name="brimfs-aio-events", daemon=True).start()

    def _listen(self) -> None:
        while True:
            for number in self.events.wait():
                # Who is not there any more does not want to know.
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


@contextlib.contextmanager
def hearing() -> Iterator[tuple[_LockEvents, int, _Future]]:
    """A number, whom to give it to, and a future of this loop that is done once somebody did."""
    listener = _listening()
    number = next(listener.numbers)
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    listener.waiting[number] = loop, future
    try:
        yield listener.events, number, future
    finally:
        listener.waiting.pop(number, None)
