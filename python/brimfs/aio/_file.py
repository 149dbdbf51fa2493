"""An open file in binary mode."""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, NoReturn, ParamSpec, Self, TypeVar

from typing_extensions import Buffer

from brimfs._brimfs import File as Core
from brimfs._brimfs import _at_once
from brimfs.aio._calls import DONE, FILE_LOCK, Caller, is_long
from brimfs.aio._threads import in_thread, to_the_end

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _calling(
    method: Callable[Concatenate[Core, _P], _T], *, changes: bool = False, has_data: bool = False
) -> Callable[Concatenate[File, _P], Coroutine[Any, Any, _T]]:
    """A method as a coroutine; `has_data` if its first argument is what is copied."""

    @functools.wraps(method)
    async def call(self: File, /, *args: _P.args, **keywords: _P.kwargs) -> _T:
        is_prompt = self._changes_at_once if changes else self._looks_at_once
        if is_prompt and not self._is_busy() and not (has_data and args and is_long(args[0])):
            how, value = _at_once(method, (self._file, *args), keywords or None)
            if how == DONE:
                return value  # type: ignore[return-value]
            if how == FILE_LOCK:
                raise value  # type: ignore[misc]
        return await self._in_turn(method, self._file, *args, **keywords)

    return call


class File:
    """A file opened in binary mode; `FileSystem.open` makes it.

    It has the methods of `brimfs.File`, as coroutines where they can wait. Tasks can share it: each
    call is one step, and they are made one after the other. `async for` goes through its lines.

    A task that is cancelled while a thread reads for it may have moved the position.
    """

    __slots__ = ("__weakref__", "_changes_at_once", "_closed", "_file", "_looks_at_once", "_turn")

    def __init__(self, file: Core, caller: Caller) -> None:
        self._file = file
        self._looks_at_once = caller._looks_at_once
        self._changes_at_once = caller._changes_at_once
        # Held by a call in a thread, and asked for by those that come meanwhile.
        self._turn: asyncio.Lock | None = None
        self._closed = False

    async def _in_turn(self, call: Callable[..., _T], *args: Any, **keywords: Any) -> _T:
        """A call in a thread, after those that were made before."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            return await in_thread(call, *args, **keywords)

    def _is_busy(self) -> bool:
        return self._turn is not None and self._turn.locked()

    @property
    def name(self) -> str | bytes:
        """The path that the file was opened with."""
        return self._file.name

    @property
    def mode(self) -> str:
        """The mode, as the built-in files write it."""
        return self._file.mode

    @property
    def closed(self) -> bool:
        """Whether the handle is closed."""
        return self._closed

    def readable(self) -> bool:
        """Whether the handle can read."""
        self._check()
        return "r" in self.mode or "+" in self.mode

    def writable(self) -> bool:
        """Whether the handle can write."""
        self._check()
        return self.mode != "rb"

    def seekable(self) -> bool:
        """Whether the position can be set: always."""
        self._check()
        return True

    def isatty(self) -> bool:
        """Whether this is a terminal: never."""
        self._check()
        return False

    def fileno(self) -> NoReturn:
        """Raises io.UnsupportedOperation: the operating system knows no number for this file."""
        self._check()
        raise io.UnsupportedOperation("fileno")

    def detach(self) -> NoReturn:
        """Raises io.UnsupportedOperation: there is no raw file below this one."""
        self._check()
        raise io.UnsupportedOperation("detach")

    def _check(self) -> None:
        if self._closed:
            raise ValueError("I/O operation on closed file")

    async def flush(self) -> None:
        """Does nothing: what was written is in the filesystem already. See sync."""
        self._check()

    async def sync(self) -> None:
        """Make everything durable that was done before; see `FileSystem.sync`."""
        await self._in_turn(self._file.sync)

    async def close(self) -> None:
        """Close the handle and give its file lock back. Closing twice is fine.

        The lock is given back even if this is cancelled.
        """
        if not self._closes_at_once():
            # A call that is under way in a thread is waited for there.
            await to_the_end(self._file.close)

    def _closes_at_once(self) -> bool:
        self._closed = True
        if not self._changes_at_once or self._is_busy():
            return False
        return _at_once(self._file.close, (), None)[0] == DONE

    read = _calling(Core.read)
    read1 = _calling(Core.read1)
    readall = _calling(Core.readall)
    peek = _calling(Core.peek)
    readline = _calling(Core.readline)
    seek = _calling(Core.seek)
    tell = _calling(Core.tell)
    view = _calling(Core.view)
    getbuffer = _calling(Core.getbuffer)
    # A task that is cancelled meanwhile ends when nobody writes to the buffer any more.
    readinto = _calling(Core.readinto, has_data=True)
    readinto1 = _calling(Core.readinto1, has_data=True)
    write = _calling(Core.write, changes=True, has_data=True)
    truncate = _calling(Core.truncate, changes=True)

    async def readlines(self, hint: int | None = None, /) -> list[bytes]:
        """Read lines into a list, no more once they have hint bytes together (if hint > 0)."""
        lines: list[bytes] = []
        total = 0
        while line := await self.readline():
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    async def writelines(self, lines: Iterable[Buffer], /) -> None:
        """Write each of the bytes-like objects, without anything between them."""
        for line in lines:
            await self.write(line)

    def __aiter__(self) -> Self:
        self._check()
        return self

    async def __anext__(self) -> bytes:
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        self._check()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        if not self._closes_at_once():
            await to_the_end(self._file.close)

    def __repr__(self) -> str:
        return f"<brimfs.aio.File name={self.name!r} mode={self.mode!r}>"
