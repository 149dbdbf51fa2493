"""Text over a binary handle, without a buffer of its own: what is read is consumed to the byte."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Protocol, Self

from brimfs.compat.dmemfs._handle import MemoryFileHandle

__all__ = ["MFSTextHandle"]

_PLAIN = frozenset(("utf-8", "ascii", "iso8859-1"))
"""Codecs without a state in which the bytes of a line end are nothing else."""
_BLOCK = 8192


class _Binary(Protocol):
    """What the adapter needs of a handle."""

    def read(self, size: int = -1, /) -> bytes | None: ...
    def write(self, data: bytes, /) -> int | None: ...
    def tell(self) -> int: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...


class MFSTextHandle:
    """Reads and writes text through a binary handle, which is left open.

    There is no translation of line ends. A line ends at `\\n`, `\\r\\n` or a `\\r` alone. Sizes
    count characters. An unknown codec is a `LookupError` at first use."""

    def __init__(
        self, handle: MemoryFileHandle | _Binary, encoding: str = "utf-8", errors: str = "strict"
    ) -> None:
        self._handle = handle
        self._encoding = encoding
        self._errors = errors
        self._is_plain: bool | None = None
        self._encoder: codecs.IncrementalEncoder | None = None
        # Decoders with a state go on where they stopped, unless somebody moved the handle.
        self._decoder: codecs.IncrementalDecoder | None = None
        self._decoded_to = -1
        self._given = ""

    @property
    def encoding(self) -> str:
        """The codec, as it was given."""
        return self._encoding

    @property
    def errors(self) -> str:
        """What becomes of text that the codec does not know."""
        return self._errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Leaves the handle open."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    # ------------------------------------------------------------------ writing

    def write(self, text: str) -> int:
        """Write text. Returns its number of characters. A byte order mark is written at the start
        of the file only.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}")
        if self._plain():
            self._handle.write(text.encode(self._encoding, self._errors))
            return len(text)
        if self._encoder is None:
            self._encoder = codecs.getincrementalencoder(self._encoding)(self._errors)
        if self._handle.tell() == 0:
            self._encoder.reset()
        else:
            self._encoder.setstate(0)
        self._handle.write(self._encoder.encode(text))
        return len(text)

    # ------------------------------------------------------------------ reading

    def read(self, size: int = -1) -> str:
        """Up to `size` characters, all that are left if it is negative; `""` at the end."""
        if size is not None and size >= 0:
            return self._take(size, stop_at_line=False)
        if not self._plain():
            return self._take(-1, stop_at_line=False)
        return (self._handle.read(-1) or b"").decode(self._encoding, self._errors)

    def readline(self, limit: int = -1) -> str:
        """One line with its end, or up to `limit` characters of it; `""` at the end."""
        if not self._plain():
            return self._take(-1 if limit is None else limit, stop_at_line=True)
        handle = self._handle
        if limit == 0:
            handle.read(0)
            return ""
        start = handle.tell()
        line = _one_line(handle, start)
        text = line.decode(self._encoding, self._errors)
        if limit is None or limit < 0 or len(text) <= limit:
            return text
        handle.seek(start)
        return self._take(limit, stop_at_line=True)

    def _plain(self) -> bool:
        if self._is_plain is None:
            self._is_plain = codecs.lookup(self._encoding).name in _PLAIN
        return self._is_plain

    def _take(self, limit: int, *, stop_at_line: bool) -> str:
        """Decodes until there are `limit` characters, or a line, and puts back what was read too
        much.
        """
        handle = self._handle
        start = handle.tell()
        if limit == 0:
            handle.read(0)
            return ""
        if limit > 0 and not stop_at_line and self._plain() and self._errors == "strict":
            return self._characters(start, limit)
        decoder = self._decoder_at(start)
        # What a codec gave beyond what was asked for when it was last used.
        given, self._given = self._given, ""
        taken: list[str] = []
        used = 0
        block, at = b"", 0
        while True:
            if not given:
                if at == len(block):
                    block, at = handle.read(_BLOCK) or b"", 0
                state = decoder.getstate()
                given = decoder.decode(block[at : at + 1], final=not block)
                if not block and not given:
                    break
                at, used = at + len(block[:1]), used + len(block[:1])
                if not given:
                    continue
            character = given[0]
            if stop_at_line and taken and taken[-1] == "\r" and character != "\n":
                # The line ended before this one, which is put back.
                if len(given) == 1 and block:
                    used -= 1 + len(state[0])
                    decoder.setstate((b"", state[1]))
                    given = ""
                break
            taken.append(character)
            given = given[1:]
            if len(taken) == limit or (stop_at_line and character == "\n"):
                break
        self._given = given
        self._decoded_to = start + used
        handle.seek(self._decoded_to)
        return "".join(taken)

    def _characters(self, start: int, count: int) -> str:
        """So many characters of a codec without a state."""
        handle = self._handle
        block = handle.read(count * 4) or b""
        decoder = codecs.getincrementaldecoder(self._encoding)(self._errors)
        try:
            text = decoder.decode(block, final=len(block) < count * 4)[:count]
        except UnicodeDecodeError as error:
            # What is wrong may lie behind what was asked for.
            text = block[: error.start].decode(self._encoding)[:count]
            if len(text) < count:
                handle.seek(start)
                raise
        handle.seek(start + len(text.encode(self._encoding)))
        return text

    def _decoder_at(self, position: int) -> codecs.IncrementalDecoder:
        decoder = self._decoder
        if decoder is not None and position == self._decoded_to:
            return decoder
        self._given = ""
        decoder = codecs.getincrementaldecoder(self._encoding)(self._errors)
        if position > 0 and not self._plain():
            # A byte order mark at the start says how to read what follows.
            self._handle.seek(0)
            decoder.decode((self._handle.read(4) or b"")[: min(4, position)])
            decoder.setstate((b"", decoder.getstate()[1]))
            self._handle.seek(position)
        self._decoder = decoder
        return decoder


def _one_line(handle: MemoryFileHandle | _Binary, start: int) -> bytes:
    """The bytes of one line; the handle is behind it then."""
    if isinstance(handle, MemoryFileHandle):
        whole = handle._line_source()
        if whole is not None:
            end = _line_end(whole, start)
            handle._position = max(end, start)
            return whole[start:end]
    found = b""
    while True:
        block = handle.read(_BLOCK) or b""
        # A carriage return at the very end may be followed by a line feed.
        scanned = max(len(found) - 1, 0)
        found += block
        end = _line_end(found, scanned)
        is_whole = end < len(found) or found.endswith(b"\n")
        if is_whole or not block:
            handle.seek(start + end)
            return found[:end]


def _line_end(data: bytes, start: int) -> int:
    end = data.find(b"\n", start)
    stop = len(data) if end < 0 else end
    carriage = data.find(b"\r", start, stop)
    if carriage >= 0:
        return carriage + 2 if carriage + 1 == end else carriage + 1
    return len(data) if end < 0 else end + 1
