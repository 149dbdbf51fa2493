"""The few threads that wait for a disk, and more that wait for file locks too."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREADS = 8
"""A disk is kept busy by that many."""

_PATIENT_THREADS = 256
"""Whoever holds the lock that the others wait for must find one."""

_pool: ThreadPoolExecutor | None = None
_patient_pool: ThreadPoolExecutor | None = None


def _executor() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="brimfs-aio")
    return _pool


def _patient_executor() -> ThreadPoolExecutor:
    global _patient_pool
    if _patient_pool is None:
        _patient_pool = ThreadPoolExecutor(_PATIENT_THREADS, "brimfs-aio-patient")
    return _patient_pool


def _forget() -> None:
    global _pool, _patient_pool
    _pool = _patient_pool = None


if hasattr(os, "register_at_fork"):
    # A forked child has none of the threads.
    os.register_at_fork(after_in_child=_forget)


async def in_thread(call: Callable[_P, _T], /, *args: _P.args, **keywords: _P.kwargs) -> _T:
    """The result of a call in a thread. It must not wait for the lock of a file.

    Who is cancelled before it began has it never run; who is cancelled while it runs waits for its
    end first, so that it changes nothing afterwards. `_discard` says what becomes of its result.
    """
    return await _result(_executor().submit(call, *args, **keywords))


async def patiently(call: Callable[[], _T], stop: Callable[[], object] | None = None) -> _T:
    """As `in_thread`, for a call that may wait for locks of files.

    `stop` is called when this is cancelled.
    """
    return await _result(_patient_executor().submit(call), stop)


async def _result(job: Future[_T], stop: Callable[[], object] | None = None) -> _T:
    ended = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        job.cancel()
        if stop is not None:
            stop()
        await _settled(ended)
        if not job.cancelled() and job.exception() is None:
            # Closing can wait for a disk, too.
            await _settled(asyncio.wrap_future(_executor().submit(_discard, job.result())))
        raise


async def to_the_end(call: Callable[[], object]) -> None:
    """Run a call in a thread, even if this is cancelled before it began."""
    ended = asyncio.wrap_future(_executor().submit(call))
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        await _settled(ended)
        raise


async def _settled(future: asyncio.Future[_T]) -> None:
    """Waits for the end, whoever else wants this to stop."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if not future.cancelled():
        # Looked at, so that nobody is told of it who was cancelled.
        future.exception()


def _discard(result: object) -> None:
    """Close what was opened for somebody who does not want it any more."""
    if isinstance(result, tuple):
        for part in result:
            _discard(part)
        return
    # Of a filesystem with the face of this package the one below.
    result = getattr(result, "_fs", result)
    for name in ("close", "release", "leave", "rollback"):
        if end := getattr(result, name, None):
            end()
            return
