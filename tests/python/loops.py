"""What tests of `brimfs.aio` share."""

from __future__ import annotations

import asyncio
import functools


def in_loop(test):
    """Runs a coroutine function as a test, in a loop of its own that looks closely."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs), debug=True)

    return run


async def until(condition):
    """Lets others go on until something is so."""
    while not condition():
        await asyncio.sleep(0.001)


async def until_waiting(afs, count):
    """Lets others go on until so many wait for a file lock."""
    await until(lambda: afs.sync_filesystem.stats().lock_waiters == count)
