"""An open file in text mode: what `io.TextIOWrapper` is to a `brimfs.File`.

That class loses text where the file below it has to wait, so this one decodes by itself. It reads
ahead, and buffers nothing that is written.
"""

from __future__ import annotations

import asyncio
import codecs
import io
import os
from collections.abc import Iterable
from typing import NoReturn, Self

from brimfs.aio._file import File

_CHUNK = 8192
"""Bytes that are decoded at once."""
_POSITION = (1 << 64) - 1
"""The part of a cookie that is a position; above it is the state of the decoder."""


class TextFile:
    """A file opened in text mode; `FileSystem.open` makes it.

    It has the methods of an `io.TextIOWrapper`, as coroutines where they can wait, and `async for`
    goes through its lines. What was written is in the filesystem when `write` returns. Tasks that
    share it take care of their order themselves.
    """

    def __init__(
        self, file: File, mode: str, pattern: io.TextIOWrapper, newline: str | None
    ) -> None:
        self._file = file
        self._mode = mode
        self._encoding = pattern.encoding
        self._errors = pattern.errors or "strict"
        self._newline = newline
        self._decoder = self._new_decoder()
        self._encoder: codecs.IncrementalEncoder | None = None
        self._text = ""
        # Where in `_text` reading goes on.
        self._at = 0
        # The bytes that `_text` was decoded from, where they began, and the decoder's state there.
        self._chunk = b""
        self._chunk_start = 0
        self._chunk_state: tuple[bytes, int] = (b"", 0)
        self._is_at_end = False

    def _new_decoder(self) -> codecs.IncrementalDecoder | io.IncrementalNewlineDecoder:
        decoder = codecs.getincrementaldecoder(self._encoding)(self._errors)
        if self._newline in (None, ""):
            return io.IncrementalNewlineDecoder(decoder, translate=self._newline is None)
        return decoder

    @property
    def buffer(self) -> File:
        """The binary file below. Using it as well loses the place in the text."""
        return self._file

    @property
    def name(self) -> str | bytes:
        """The path that the file was opened with."""
        return self._file.name

    @property
    def mode(self) -> str:
        """The mode that the file was opened with."""
        return self._mode

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    @property
    def encoding(self) -> str:
        """The name of the encoding."""
        return self._encoding

    @property
    def errors(self) -> str:
        """What becomes of text that the encoding cannot say."""
        return self._errors

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The ends of lines that were read so far, where newlines are looked for at all."""
        found: str | tuple[str, ...] | None = getattr(self._decoder, "newlines", None)
        return found

    @property
    def line_buffering(self) -> bool:
        """False: nothing that is written is buffered."""
        return False

    @property
    def write_through(self) -> bool:
        """True: nothing that is written is buffered."""
        return True

    def readable(self) -> bool:
        """Whether it can read."""
        return self._file.readable()

    def writable(self) -> bool:
        """Whether it can write."""
        return self._file.writable()

    def seekable(self) -> bool:
        """Whether the position can be set: always."""
        return self._file.seekable()

    def isatty(self) -> bool:
        """Whether this is a terminal: never."""
        return self._file.isatty()

    def fileno(self) -> NoReturn:
        """Raises io.UnsupportedOperation: the operating system knows no number for this file."""
        self._file.fileno()

    async def flush(self) -> None:
        """Does nothing: what was written is in the filesystem already. See sync."""
        await self._file.flush()

    async def sync(self) -> None:
        """Make everything durable that was done before; see `FileSystem.sync`."""
        await self._file.sync()

    async def close(self) -> None:
        """Close the file and give its file lock back. Closing twice is fine."""
        await self._file.close()

    async def _more(self) -> bool:
        """Decodes the next bytes, if there are any."""
        if self._is_at_end:
            return False
        # A line that goes on and on is looked for in larger and larger pieces.
        await self._read_ahead(max(_CHUNK, len(self._chunk)))
        return True

    async def _read_ahead(self, size: int) -> None:
        start = await self._file.tell()
        try:
            chunk = await self._file.read(size)
        except asyncio.CancelledError:
            # It has not taken place.
            await self._file.seek(start)
            raise
        self._append(start, chunk, is_last=size < 0 or not chunk)

    def _append(self, start: int, chunk: bytes, *, is_last: bool) -> None:
        state = self._decoder.getstate()
        self._is_at_end = is_last
        decoded = self._decoder.decode(chunk, final=is_last)
        if self._at == len(self._text):
            self._chunk, self._chunk_start, self._chunk_state = chunk, start, state
            self._text, self._at = decoded, 0
        else:
            # One line over several chunks: they are one from now on.
            self._chunk += chunk
            self._text += decoded

    def _take(self, end: int) -> str:
        text = self._text[self._at : end]
        self._at = min(end, len(self._text))
        # The end is not for good: others, or this file, may write there.
        self._is_at_end = False
        return text

    def _check_readable(self) -> None:
        if not self.readable():
            raise io.UnsupportedOperation("not readable")

    async def read(self, size: int | None = -1, /) -> str:
        """Read up to size characters; all that is left if size is negative or None."""
        self._check_readable()
        if size is None or size < 0:
            await self._read_ahead(-1)
            return self._take(len(self._text))
        while len(self._text) - self._at < size and await self._more():
            pass
        return self._take(self._at + size)

    async def readline(self, size: int = -1, /) -> str:
        """Read a line, with its end if it has one, or at most size characters of it."""
        self._check_readable()
        looked = self._at
        while True:
            end = self._line_end(looked)
            if end is not None:
                break
            # An end of two characters may begin with the last one.
            kept = len(self._text) - self._at
            if 0 <= size <= kept or not await self._more():
                end = len(self._text)
                break
            looked = max(self._at, self._at + kept - 1)
        if size >= 0:
            end = min(end, self._at + size)
        return self._take(end)

    def _line_end(self, looked: int) -> int | None:
        """Where the line ends, its end included, if that is known."""
        text = self._text
        if self._newline != "":
            newline = self._newline or "\n"
            found = text.find(newline, looked)
            return None if found < 0 else found + len(newline)
        feed, carriage = text.find("\n", looked), text.find("\r", looked)
        if carriage < 0 or 0 <= feed < carriage:
            return None if feed < 0 else feed + 1
        # The decoder holds a last "\r" back until it knows what follows.
        return carriage + (2 if text.startswith("\n", carriage + 1) else 1)

    async def readlines(self, hint: int | None = None, /) -> list[str]:
        """Read lines into a list, no more once they have hint characters together."""
        lines: list[str] = []
        total = 0
        while line := await self.readline():
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    async def write(self, text: str, /) -> int:
        """Write the text, newlines translated as the built-in files do, and return its length.

        What was read ahead is let go: writing goes on behind it, as with the built-in files. `seek`
        says where to.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        newline = os.linesep if self._newline is None else self._newline
        raw = text if newline in ("", "\n") else text.replace("\n", newline)
        encoder = self._encoder or await self._new_encoder()
        await self._file.write(encoder.encode(raw))
        self._encoder = encoder
        self._forget()
        return len(text)

    async def _new_encoder(self) -> codecs.IncrementalEncoder:
        encoder = codecs.getincrementalencoder(self._encoding)(self._errors)
        if await self._file.tell():
            # A mark of the byte order stands at the beginning only.
            encoder.setstate(0)
        return encoder

    async def writelines(self, lines: Iterable[str], /) -> None:
        """Write each of the strings, without anything between them."""
        for line in lines:
            await self.write(line)

    def _forget(self) -> None:
        """Lets go of what was read ahead."""
        self._text, self._at, self._chunk = "", 0, b""
        self._is_at_end = False
        self._decoder.reset()

    async def tell(self) -> int:
        """Where reading or writing goes on, as a number for `seek` that says nothing else."""
        if self._at == len(self._text):
            return _cookie(await self._file.tell(), self._decoder.getstate())
        self.seekable()
        # Decodes again, byte by byte, as far as was read.
        decoder = self._new_decoder()
        decoder.setstate(self._chunk_state)
        best = _cookie(self._chunk_start - len(self._chunk_state[0]), (b"", self._chunk_state[1]))
        count = 0
        for index in range(len(self._chunk) + 1):
            state = decoder.getstate()
            if count == self._at and not state[0]:
                best = _cookie(self._chunk_start + index, state)
            if count > self._at or index == len(self._chunk):
                break
            count += len(decoder.decode(self._chunk[index : index + 1]))
        if count < self._at:
            # The rest came of the end of the file.
            return self._chunk_start + len(self._chunk)
        return best

    async def seek(self, cookie: int, whence: int = 0, /) -> int:
        """Go on at the start (0), where `tell` was, or with whence=2 at the end.

        Return the number that `tell` would.
        """
        if whence not in (0, 1, 2):
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if whence and cookie:
            kind = "cur" if whence == 1 else "end"
            raise io.UnsupportedOperation(f"can't do nonzero {kind}-relative seeks")
        if cookie < 0:
            raise ValueError(f"negative seek position {cookie!r}")
        if whence == 1:
            cookie = await self.tell()
        position, flags = cookie & _POSITION, cookie >> 64
        position = await self._file.seek(0, 2) if whence == 2 else await self._file.seek(position)
        self._forget()
        if flags:
            self._decoder.setstate((b"", flags))
        self._encoder = None
        return cookie if whence != 2 else position

    async def truncate(self, size: int | None = None, /) -> int:
        """Set the file's length in bytes, by default to where `tell` is, and return it."""
        if size is None:
            size = await self.tell() & _POSITION
        return await self._file.truncate(size)

    def __aiter__(self) -> Self:
        self._check_readable()
        return self

    async def __anext__(self) -> str:
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        await self._file.__aenter__()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        about = f"name={self.name!r} mode={self.mode!r} encoding={self._encoding!r}"
        return f"<brimfs.aio.TextFile {about}>"


def _cookie(position: int, state: tuple[bytes, int]) -> int:
    # Bytes that the decoder holds back are read again.
    return position - len(state[0]) | state[1] << 64
