"""Waiting for file locks as a task."""

from __future__ import annotations

import asyncio
from typing import Any

from brimfs._brimfs import FileSystem, _LockTicket
from brimfs.aio._events import hearing
from brimfs.aio._threads import in_thread


async def granted(
    filesystem: FileSystem, path: Any, exclusive: bool, timeout: float | None
) -> _LockTicket | None:
    """The lock of a file, once it is free; None if that takes too long.

    Who is cancelled leaves the queue, and keeps no lock.
    """
    with hearing() as (events, number, future):
        arguments = path, exclusive, events, number
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
