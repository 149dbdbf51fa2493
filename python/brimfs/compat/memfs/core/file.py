"""Open files: a private buffer that is written back as a whole when it is closed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from brimfs.compat.memfs.core.filesystem import MemFileSystem

__all__ = ["TextContent", "VirtualFile"]


class TextContent(str):
    """Text read in a text mode. It equals its UTF-8 bytes too, which the older package returned."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (bytes, bytearray)):
            return self.encode("utf-8", "surrogateescape") == other
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text, for programs that decode what they read."""
        return self.encode("utf-8", "surrogateescape").decode(encoding, errors)


def parse_mode(mode: str) -> tuple[str, bool, bool]:
    """The letter of a mode, whether it has a plus, and whether it is a text mode.

    Raises `ValueError` for what is no mode of the built-in `open`.
    """
    if not isinstance(mode, str):
        raise TypeError(f"mode must be str, not {type(mode).__name__}")
    letters = set(mode)
    kinds = letters & set("rwax")
    if (
        len(letters) != len(mode)
        or len(kinds) != 1
        or letters - set("rwax+bt")
        or letters >= {"b", "t"}
    ):
        raise ValueError(f"invalid mode: {mode!r}")
    return kinds.pop(), "+" in letters, "b" not in letters


class VirtualFile(io.RawIOBase):
    """A file opened by `MemFileSystem.open`. Positions and sizes are bytes.

    Its content is that of the moment it was opened. What is written becomes visible when it is
    closed, as a whole; of two writers the last to close wins. In a text mode text is written and
    read as UTF-8, and bytes are written too. After a write that failed nothing is written back.
    """

    def __init__(
        self,
        filesystem: MemFileSystem,
        key: str,
        mode: str,
        content: bytes,
        priority: int,
    ) -> None:
        kind, is_update, is_text = parse_mode(mode)
        self.key = key
        self.mode = mode
        self._filesystem: MemFileSystem | None = filesystem
        self._priority = priority
        self._is_text = is_text
        self._can_read = kind == "r" or is_update
        self._can_write = kind != "r" or is_update
        self._appends = kind == "a"
        # A new or emptied file is there after closing even if nothing was written.
        self._is_changed = kind in "wx" or (kind == "a" and not content)
        self._has_failed = False
        self._buffer = io.BytesIO(content)
        if self._appends:
            self._buffer.seek(0, io.SEEK_END)

    @property
    def name(self) -> str:
        """The path, as `key`."""
        return self.key

    def _check(self, *, reading: bool = False, writing: bool = False) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if reading and not self._can_read:
            raise io.UnsupportedOperation(f"not readable in mode {self.mode!r}")
        if writing and not self._can_write:
            raise io.UnsupportedOperation(f"not writable in mode {self.mode!r}")

    def readable(self) -> bool:
        """Whether it can be read from."""
        self._check()
        return self._can_read

    def writable(self) -> bool:
        """Whether it can be written to."""
        self._check()
        return self._can_write

    def seekable(self) -> bool:
        """True."""
        self._check()
        return True

    def _shown(self, content: bytes) -> Any:
        if self._is_text:
            return TextContent(content.decode("utf-8", "surrogateescape"))
        return content

    def read(self, size: int | None = -1) -> Any:
        """Up to `size` bytes, or characters in a text mode; all that are left if negative or
        `None`.
        """
        self._check(reading=True)
        if not self._is_text or size is None or size < 0:
            return self._shown(self._buffer.read(size))
        start = self._buffer.tell()
        text = self._buffer.read(size * 4).decode("utf-8", "surrogateescape")[:size]
        self._buffer.seek(start + len(text.encode("utf-8", "surrogateescape")))
        return TextContent(text)

    def readall(self) -> Any:
        """All that is left."""
        return self.read(-1)

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a writable buffer. Returns how many."""
        self._check(reading=True)
        return self._buffer.readinto(buffer)

    def readline(self, size: int | None = -1, /) -> Any:
        """One line with its `\\n`, or up to `size` bytes of it."""
        self._check(reading=True)
        return self._shown(self._buffer.readline(-1 if size is None else size))

    def readlines(self, hint: int | None = -1, /) -> list[Any]:
        """The lines that are left; no more once they have `hint` bytes, if that is positive."""
        self._check(reading=True)
        return [self._shown(line) for line in self._buffer.readlines(-1 if hint is None else hint)]

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def write(self, data: Any) -> int:
        """Write bytes, or text in a text mode. Returns the number of bytes, or of characters."""
        self._check(writing=True)
        try:
            if isinstance(data, str):
                if not self._is_text:
                    raise TypeError(
                        f"a bytes-like object is required in mode {self.mode!r}, not 'str'"
                    )
                encoded: Any = data.encode("utf-8", "surrogateescape")
            else:
                encoded = data
            if self._appends:
                self._buffer.seek(0, io.SEEK_END)
            count = self._buffer.write(encoded)
        except BaseException:
            self._has_failed = True
            raise
        self._is_changed = True
        return len(data) if isinstance(data, str) else count

    def writelines(self, lines: Any) -> None:
        """Write one after the other."""
        self._check(writing=True)
        for line in lines:
            self.write(line)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to `offset` bytes from the start (0), the position (1) or the end (2)."""
        self._check()
        return self._buffer.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        self._check()
        return self._buffer.tell()

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend to `size` bytes, the position if `None`. Returns the size."""
        self._check(writing=True)
        size = self._buffer.tell() if size is None else size
        position = self._buffer.tell()
        length = self._buffer.seek(0, io.SEEK_END)
        if size > length:
            self._buffer.write(bytes(size - length))
        else:
            self._buffer.truncate(size)
        self._buffer.seek(position)
        self._is_changed = True
        return size

    def flush(self) -> None:
        """Nothing: content is written back when the file is closed."""
        self._check()

    def close(self) -> None:
        """Write the content back. Closing twice is fine. Raises what `MemFileSystem.write` does."""
        if self.closed:
            return
        filesystem, self._filesystem = self._filesystem, None
        try:
            wants_writing = self._can_write and self._is_changed and not self._has_failed
            if filesystem is not None and wants_writing:
                filesystem._write_back(self.key, self._buffer.getvalue(), self._priority)
        finally:
            super().close()

    def __enter__(self) -> Self:
        self._check()
        return self
