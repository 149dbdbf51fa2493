"""How a method of a filesystem becomes a coroutine: at once where it can, else it waits well."""

from __future__ import annotations

import asyncio
import errno
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from brimfs import _brimfs
from brimfs._brimfs import _at_once, _LockTicket
from brimfs._errors import LockTimeout
from brimfs.aio import _locks
from brimfs.aio._threads import in_thread

_P = ParamSpec("_P")
_T = TypeVar("_T")

BYTES_AT_ONCE = 512 * 1024
"""Copying more takes longer than handing it to a thread. What is read is measured by the core."""

DONE, FILE_LOCK = 0, 1

_TURNS, _PAUSE = 8, 0.001
"""After so many turns without success there are pauses, in seconds."""

Lock = tuple[Any, bool]
"""The path of a file that a call locks, and whether it does so exclusively."""


def is_long(data: object) -> bool:
    """Whether so much data is written by a thread."""
    if isinstance(data, (bytes, bytearray, str)):
        return len(data) > BYTES_AT_ONCE
    try:
        return memoryview(data).nbytes > BYTES_AT_ONCE  # type: ignore[arg-type]
    except TypeError:
        # The call says what is wrong with it.
        return False


class Caller:
    """Makes calls of one filesystem for the tasks of event loops."""

    def __init__(self, filesystem: _brimfs.FileSystem) -> None:
        self._fs = filesystem
        waits = filesystem._waits
        self._looks_at_once = waits != "all"
        self._changes_at_once = waits == "none"

    async def _call(
        self,
        is_prompt: bool,
        locks: Sequence[Lock],
        call: Callable[..., _T],
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> _T:
        """`call(*args, **keywords)`, at once if `is_prompt` and nothing has to be waited for."""
        if is_prompt:
            how, value = _at_once(call, args, keywords)
            if how == DONE:
                return value  # type: ignore[return-value]
        return await self._wait(is_prompt, locks, call, args, keywords)

    async def _wait(
        self,
        is_prompt: bool,
        locks: Sequence[Lock],
        call: Callable[..., _T],
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> _T:
        """`_call` of what cannot be done at once."""
        timeout = keywords.get("lock_timeout", self._fs._lock_timeout)
        waiting = _Waiting(self._fs, locks, timeout)
        return await waiting.call(is_prompt, call, args, keywords)


class _Waiting:
    """A call on its way: the locks that it may wait for, and how long it may still wait."""

    def __init__(
        self, filesystem: _brimfs.FileSystem, locks: Sequence[Lock], timeout: float | None
    ) -> None:
        self._fs = filesystem
        self._locks = locks
        self._timeout = timeout
        self._since = asyncio.get_running_loop().time()
        self._turn = 0

    async def call(
        self,
        is_prompt: bool,
        call: Callable[..., _T],
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> _T:
        ticket: _LockTicket | None = None
        try:
            while True:
                if is_prompt:
                    how, value = _at_once(call, args, keywords, ticket)
                if not is_prompt or how not in (DONE, FILE_LOCK):
                    # From now on a lock that was waited for goes along to the thread.
                    is_prompt = False
                    how, value = await in_thread(_at_once, call, args, keywords, ticket, True)
                if how == DONE:
                    return value  # type: ignore[return-value]
                assert isinstance(value, BlockingIOError)
                ticket = await self._lock(value)
        finally:
            if ticket is not None:
                ticket.leave()

    async def _lock(self, refused: BlockingIOError) -> _LockTicket | None:
        """The lock that was not free, or None if the call is to be tried without it."""
        if not self._locks or self._timeout == 0:
            raise refused
        path, exclusive = self._locks[self._turn % len(self._locks)]
        self._turn += 1
        waited = asyncio.get_running_loop().time() - self._since
        left = None if self._timeout is None else self._timeout - waited
        if left is not None and left <= 0:
            raise _timeout(refused, waited)
        # A call that is refused again and again lets others go on meanwhile.
        await asyncio.sleep(0 if self._turn <= _TURNS else _PAUSE)
        try:
            return await _locks.granted(self._fs, path, exclusive, left)
        except FileNotFoundError:
            # It went meanwhile: the call says what that means.
            return None


def _timeout(refused: BlockingIOError, waited: float) -> LockTimeout:
    """As the core says it of a thread that waited."""
    holder = str(refused.strerror)
    text = f"Waited {waited:.1f} s; {holder[:1].lower()}{holder[1:]}"
    return LockTimeout(errno.ETIMEDOUT, text, refused.filename, None, refused.filename2)


def looking(
    method: Callable[Concatenate[_brimfs.FileSystem, _P], _T],
) -> Callable[Concatenate[Caller, _P], Coroutine[Any, Any, _T]]:
    """A method that changes nothing and takes no file lock."""

    @functools.wraps(method)
    async def call(self: Caller, /, *args: _P.args, **keywords: _P.kwargs) -> _T:
        return await self._call(self._looks_at_once, (), method, (self._fs, *args), keywords)

    return call


def changing(
    method: Callable[Concatenate[_brimfs.FileSystem, _P], _T],
) -> Callable[Concatenate[Caller, _P], Coroutine[Any, Any, _T]]:
    """A method that changes something and takes no file lock."""

    @functools.wraps(method)
    async def call(self: Caller, /, *args: _P.args, **keywords: _P.kwargs) -> _T:
        return await self._call(self._changes_at_once, (), method, (self._fs, *args), keywords)

    return call


def reading(
    method: Callable[Concatenate[_brimfs.FileSystem, _P], _T],
) -> Callable[Concatenate[Caller, _P], Coroutine[Any, Any, _T]]:
    """A method that reads the file that its path leads to."""

    @functools.wraps(method)
    async def call(self: Caller, /, *args: _P.args, **keywords: _P.kwargs) -> _T:
        path = args[0] if args else keywords.get("path")
        locks = ((path, False),)
        return await self._call(self._looks_at_once, locks, method, (self._fs, *args), keywords)

    return call


def writing(
    method: Callable[Concatenate[_brimfs.FileSystem, _P], _T],
) -> Callable[Concatenate[Caller, _P], Coroutine[Any, Any, _T]]:
    """A method that writes to the file that its path leads to, perhaps a second argument `data`."""

    @functools.wraps(method)
    async def call(self: Caller, /, *args: _P.args, **keywords: _P.kwargs) -> _T:
        path = args[0] if args else keywords.get("path")
        data = args[1] if len(args) > 1 else keywords.get("data")
        is_prompt = self._changes_at_once and not is_long(data)
        locks = ((path, True),)
        return await self._call(is_prompt, locks, method, (self._fs, *args), keywords)

    return call


def lasting(
    method: Callable[Concatenate[_brimfs.FileSystem, _P], _T],
) -> Callable[Concatenate[Caller, _P], Coroutine[Any, Any, _T]]:
    """A method that takes its time: of the disk, or for as many nodes as there are."""

    @functools.wraps(method)
    async def call(self: Caller, /, *args: _P.args, **keywords: _P.kwargs) -> _T:
        return await in_thread(method, self._fs, *args, **keywords)

    return call
