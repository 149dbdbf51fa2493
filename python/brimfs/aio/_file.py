"""An open file in binary mode."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, Self, TypeVar

from typing_extensions import Buffer

from brimfs import _brimfs
from brimfs._brimfs import View, _at_once
from brimfs.aio._calls import DONE, FILE_LOCK, Caller, is_long
from brimfs.aio._threads import in_thread, to_the_end

_T = TypeVar("_T")


class File:
    """A file opened in binary mode; `FileSystem.open` makes it.

    It has the methods of `brimfs.File`, as coroutines where they can wait. Tasks can share it: each
    call is one step, and they are made one after the other. `async for` goes through its lines.

    A task that is cancelled while a thread reads for it may have moved the position.
    """

    def __init__(self, file: _brimfs.File, caller: Caller) -> None:
        self._file = file
        self._looks_at_once = caller._looks_at_once
        self._changes_at_once = caller._changes_at_once
        # Held by a call in a thread, and asked for by those that come meanwhile.
        self._turn = asyncio.Lock()
        self._closed = False

    async def _call(self, is_prompt: bool, call: Callable[..., _T], *args: Any) -> _T:
        if is_prompt and not self._turn.locked():
            how, value = _at_once(call, args, {})
            if how == DONE:
                return value  # type: ignore[return-value]
            if how == FILE_LOCK:
                raise value  # type: ignore[misc]
        async with self._turn:
            return await in_thread(call, *args)

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
        await self._call(False, self._file.sync)

    async def close(self) -> None:
        """Close the handle and give its file lock back. Closing twice is fine.

        The lock is given back even if this is cancelled.
        """
        self._closed = True
        if self._changes_at_once and not self._turn.locked():
            how, _ = _at_once(self._file.close, (), {})
            if how == DONE:
                return
        # A call that is under way in a thread is waited for there.
        await to_the_end(self._file.close)

    async def read(self, size: int | None = -1, /) -> bytes:
        """Read up to size bytes; all that is left if size is negative or None."""
        return await self._call(self._looks_at_once, self._file.read, size)

    async def read1(self, size: int | None = -1, /) -> bytes:
        """The same as read."""
        return await self._call(self._looks_at_once, self._file.read, size)

    async def readall(self) -> bytes:
        """Read all that is left."""
        return await self._call(self._looks_at_once, self._file.read)

    async def readinto(self, buffer: Buffer, /) -> int:
        """Read into a writable buffer and return how many bytes there were; 0 at the end.

        A task that is cancelled meanwhile ends when nobody writes to the buffer any more.
        """
        is_prompt = self._looks_at_once and not is_long(buffer)
        return await self._call(is_prompt, self._file.readinto, buffer)

    async def readinto1(self, buffer: Buffer, /) -> int:
        """The same as readinto."""
        return await self.readinto(buffer)

    async def peek(self, size: int = 0, /) -> bytes:
        """Return up to 8 KiB from the position on without advancing it."""
        return await self._call(self._looks_at_once, self._file.peek, size)

    async def readline(self, size: int | None = None, /) -> bytes:
        """Read a line, with its b'\\n' if it has one, or at most size bytes of it."""
        return await self._call(self._looks_at_once, self._file.readline, size)

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

    async def write(self, data: Buffer, /) -> int:
        """Write the bytes-like data and return its length. All of it or nothing."""
        is_prompt = self._changes_at_once and not is_long(data)
        return await self._call(is_prompt, self._file.write, data)

    async def writelines(self, lines: Iterable[Buffer], /) -> None:
        """Write each of the bytes-like objects, without anything between them."""
        for line in lines:
            await self.write(line)

    async def seek(self, offset: int, whence: int = 0, /) -> int:
        """Set the position and return it."""
        return await self._call(self._looks_at_once, self._file.seek, offset, whence)

    async def tell(self) -> int:
        """Return the position in bytes."""
        return await self._call(self._looks_at_once, self._file.tell)

    async def truncate(self, size: int | None = None, /) -> int:
        """Set the file's length to size, by default the position, and return it."""
        return await self._call(self._changes_at_once, self._file.truncate, size)

    async def view(self) -> View:
        """A View of the content as it is now, without a copy; see `FileSystem.view`."""
        return await self._call(self._looks_at_once, self._file.view)

    async def getbuffer(self) -> memoryview:
        """A read-only memoryview of the content as it is now, without a copy."""
        return await self._call(self._looks_at_once, self._file.getbuffer)

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
        await self.close()

    def __repr__(self) -> str:
        return f"<brimfs.aio.File name={self.name!r} mode={self.mode!r}>"
