"""Open files: positions, and what writes mean for the ledger. The bytes are the core's.

A handle owns a file lock from `open` to `close`. Whoever has the exclusive one is alone in
changing the node, so only sums of the ledger need the lock of the tree. Room is charged before
bytes move, and given back if that fails."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from brimfs.compat.dmemfs import _lock
from brimfs.compat.dmemfs._exceptions import MFSQuotaExceededError
from brimfs.compat.dmemfs._file import FLAT, FileNode

if TYPE_CHECKING:
    from brimfs import File
    from brimfs.compat.dmemfs._fs import MemoryFileSystem

__all__ = ["MemoryFileHandle"]

_SMALL = 64 * 1024
"""Files up to this size are read from the core as a whole."""
_WHOLE = 16 * 1024 * 1024
"""Files up to this size are read as a whole for their lines."""


class MemoryFileHandle(io.RawIOBase):
    """A file opened by `MemoryFileSystem.open`. Positions and sizes are bytes.

    It holds the file's lock until it is closed. `name` is the path as it was given, `mode` the
    mode. Use after closing is a `ValueError`, the wrong direction `io.UnsupportedOperation`."""

    # A handle that was never finished has no state to give back.
    _is_closed = True
    # The whole of a small file, while nobody can change it.
    _whole: bytes | None = None
    # The core's handle, once there is more to do than one call, and its position.
    _file: File | None = None
    _file_position = 0
    _has_written = False
    _position = 0
    _is_append = False
    _can_read = False
    _can_write = True

    def __init__(
        self,
        mfs: MemoryFileSystem,
        fnode: FileNode,
        path: str,
        mode: str,
        is_append: bool = False,
    ) -> None:
        self.name = path
        self.mode = mode
        self._tree = mfs._tree
        self._node = fnode
        if is_append:
            self._is_append = True
            self._position = fnode.size
        if mode == "rb":
            self._can_read, self._can_write = True, False
        elif mode == "r+b":
            self._can_read = True
        # It owns the lock from here on.
        self._mfs = mfs
        self._is_closed = False

    # ------------------------------------------------------------------ state

    @property
    def closed(self) -> bool:
        """Whether the handle was closed."""
        return self._is_closed

    def _check_open(self) -> None:
        if self._is_closed:
            raise ValueError("I/O operation on closed file")

    def _check_readable(self) -> None:
        self._check_open()
        if not self._can_read:
            raise io.UnsupportedOperation(f"not readable in mode {self.mode!r}")

    def _check_writable(self) -> None:
        self._check_open()
        if not self._can_write:
            raise io.UnsupportedOperation(f"not writable in mode {self.mode!r}")

    def readable(self) -> bool:
        """Whether it can be read from."""
        self._check_open()
        return self._can_read

    def writable(self) -> bool:
        """Whether it can be written to."""
        self._check_open()
        return self._can_write

    def seekable(self) -> bool:
        """True."""
        self._check_open()
        return True

    def flush(self) -> None:
        """Nothing: what is written is in the filesystem when `write` returns."""
        self._check_open()

    def close(self) -> None:
        """Give the file lock back. Closing twice is fine."""
        if self._is_closed:
            return
        self._is_closed = True
        node, tree = self._node, self._tree
        if self._file is not None:
            self._file.close()
            self._file = None
        self._whole = None
        can_write = self._can_write
        if can_write and node.stored and not node.size:
            tree.core.remove(node.content)
            node.stored = False
        with tree.lock:
            if node.waiters:
                _lock.give_back(node, can_write)
            elif can_write:
                node.writer = False
            else:
                node.readers -= 1

    def __del__(self) -> None:
        if not self._is_closed:
            warnings.warn(
                f"unclosed file {self.name!r} in mode {self.mode!r}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            self.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # ------------------------------------------------------------------ reading

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, all that are left if it is negative or `None`; `b""` at the end."""
        if self._is_closed or not self._can_read:
            self._check_readable()
        node, position = self._node, self._position
        left = node.size - position
        if size is None or size < 0 or size > left:
            size = left
        if size <= 0:
            return b""
        self._position = position + size
        if self._whole is not None:
            return self._whole[position : position + size]
        if self._file is None:
            if size == node.size:
                return self._tree.core.read_bytes(node.content)
            if not self._can_write and node.size <= _SMALL:
                self._whole = self._tree.core.read_bytes(node.content)
                return self._whole[position : position + size]
        file = self._at(position)
        self._file_position = position + size
        return file.read(size)

    def readall(self) -> bytes:
        """All bytes from the position to the end."""
        return self.read(-1)

    def _line_source(self) -> bytes | None:
        """The whole content, where a text adapter may take lines from it: nobody can change it
        meanwhile.
        """
        if self._whole is None:
            self._check_readable()
            if self._can_write or self._node.size > _WHOLE:
                return None
            self._whole = self._tree.core.read_bytes(self._node.content) if self._node.size else b""
        elif self._is_closed:
            self._check_open()
        return self._whole

    def readinto(self, buffer: Any) -> int:
        """Read into a writable buffer. Returns how many bytes that were, 0 at the end."""
        self._check_readable()
        room = memoryview(buffer).cast("B")
        if room.readonly:
            raise TypeError("readinto needs a writable buffer")
        count = min(len(room), self._node.size - self._position)
        if count <= 0:
            return 0
        if count <= _SMALL:
            room[:count] = self.read(count)
            return count
        read = self._at(self._position).readinto(room[:count])
        self._position += read
        self._file_position = self._position
        return read

    def readline(self, size: int | None = -1, /) -> bytes:
        """One line with its `\\n`, or up to `size` bytes of it; `b""` at the end."""
        self._check_readable()
        if self._position >= self._node.size:
            return b""
        line = self._at(self._position).readline(-1 if size is None else size)
        self._position += len(line)
        self._file_position = self._position
        return line

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """The lines that are left; no more once they have `hint` bytes, if that is positive."""
        self._check_readable()
        if self._position >= self._node.size:
            return []
        lines = self._at(self._position).readlines(-1 if hint is None else hint)
        self._position += sum(map(len, lines))
        self._file_position = self._position
        return lines

    def __iter__(self) -> Iterator[bytes]:
        self._check_open()
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    # ------------------------------------------------------------------ position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to `offset` from the start (0), the position (1) or the end (2, not beyond it)."""
        if self._is_closed:
            self._check_open()
        if whence == 0:
            position = offset
        elif whence == 1:
            position = self._position + offset
        elif whence == 2:
            if offset > 0:
                raise ValueError(f"cannot seek beyond the end: {offset}")
            position = self._node.size + offset
        else:
            raise ValueError(f"invalid whence: {whence}")
        if position < 0:
            raise ValueError(f"negative position: {position}")
        self._position = position
        return position

    def tell(self) -> int:
        """The position."""
        self._check_open()
        return self._position

    # ------------------------------------------------------------------ writing

    def write(self, data: Any) -> int:
        """Write `bytes`, `bytearray` or a `memoryview` at the position. Returns the number of
        bytes.

        Raises `MFSQuotaExceededError` before anything is stored. With
        `default_storage="sequential"` anything but appending is `io.UnsupportedOperation`, as is
        changing the middle of a file beyond the promotion limit."""
        if self._is_closed or not self._can_write:
            self._check_writable()
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}")
            if isinstance(data, memoryview):
                data = data.cast("B") if data.c_contiguous else data.tobytes()
        count = len(data)
        node, tree, ledger = self._node, self._tree, self._tree.ledger
        if not count:
            if self._is_append:
                self._position = node.size
            return 0
        old_size, old_chunks = node.size, node.chunks
        position = old_size if self._is_append else self._position
        with tree.lock:
            if old_chunks == FLAT:
                growth = position + count - old_size
                if growth > 0:
                    self._need(growth)
                    ledger.used += growth
                    node.size = position + count
            elif position == old_size:
                charge = count + ledger.overhead
                if ledger.guard.per_write or ledger.used + charge > ledger.quota:
                    self._need(charge)
                ledger.used += charge
                ledger.chunks += 1
                node.size = old_size + count
                node.chunks = old_chunks + 1
            else:
                ledger.settle(node, self._promoted(position + count), FLAT)
        try:
            if old_size or position or self._file is not None:
                self._store(position, old_size, data)
            else:
                # What will be changed in its middle is copied now; the rest is kept by reference.
                is_kept = old_chunks != FLAT or count <= _SMALL
                tree.core.write_bytes(node.content, data if is_kept else memoryview(data))
                node.stored = self._has_written = True
        except BaseException:
            with tree.lock:
                ledger.settle(node, old_size, old_chunks)
            raise
        self._position = position + count
        if node.reserved:
            node.reserved = max(node.reserved - count, 0)
        node.generation += 1
        node.modified_at = time.time()
        return count

    def _need(self, count: int) -> None:
        ledger = self._tree.ledger
        if ledger.guard.per_write:
            ledger.guard.check(count)
        if ledger.used + count > ledger.quota:
            raise self._over_quota(count, ledger.quota - ledger.used)

    def _over_quota(self, requested: int, available: int) -> MFSQuotaExceededError:
        error = MFSQuotaExceededError(requested, available)
        error.filename = self.name
        return error

    def _promoted(self, end: int) -> int:
        """Asks for what a change in the middle of a file in the chunk form takes. Returns its new
        size.
        """
        node, ledger = self._node, self._tree.ledger
        if self._tree.storage == "sequential":
            raise io.UnsupportedOperation("a sequential file can only be appended to")
        if node.size > ledger.promotion_limit:
            raise io.UnsupportedOperation(
                f"a file of {node.size} bytes is beyond the promotion limit of "
                f"{ledger.promotion_limit}, so it can only be appended to"
            )
        # For a moment there are two copies of what was written.
        transient = max(node.size - node.reserved, 0)
        if transient:
            self._need(transient)
        growth = end - node.size
        if growth > 0:
            if ledger.guard.per_write:
                ledger.guard.check(growth)
            refund = node.chunks * ledger.overhead
            available = ledger.quota - ledger.used + refund
            if growth > available:
                raise self._over_quota(growth, available)
            return end
        return node.size

    def _store(self, position: int, old_size: int, data: Any) -> None:
        node, core = self._node, self._tree.core
        if self._file is None and not self._has_written and position == old_size:
            # One call of the core; a handle is worth it from the second on.
            core.append_bytes(node.content, data)
            self._has_written = True
            return
        self._at(position).write(data)
        self._file_position = position + len(data)

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file to `size` bytes, the position if `None`. Returns the new size.

        What is extended is zeros. A position beyond the new end moves there.
        """
        self._check_writable()
        size = self._position if size is None else size
        if size < 0:
            raise ValueError(f"negative size: {size}")
        if size != self._node.size:
            self._resize(size)
            self._changed()
        self._position = min(self._position, size)
        return size

    def _resize(self, size: int) -> None:
        node, tree, ledger = self._node, self._tree, self._tree.ledger
        old_size, old_chunks = node.size, node.chunks
        chunks = old_chunks
        with tree.lock:
            if size > old_size:
                if chunks != FLAT:
                    chunks += 1
                    self._need(size - old_size + ledger.overhead)
                else:
                    self._need(size - old_size)
            elif chunks != FLAT:
                chunks = 1 if size else 0
            ledger.settle(node, size, chunks)
        try:
            if not node.stored:
                tree.core.write_bytes(node.content, b"")
                node.stored = True
            tree.core.truncate(node.content, size)
        except BaseException:
            with tree.lock:
                ledger.settle(node, old_size, old_chunks)
            raise
        node.reserved = min(node.reserved, size)

    def _preallocate(self, size: int) -> None:
        """Extends the file to `size` bytes, room that later writes need not ask for again."""
        node = self._node
        if size > node.size:
            growth = size - node.size
            self._resize(size)
            node.reserved += growth
            node.generation += 1

    def _changed(self) -> None:
        node = self._node
        node.generation += 1
        node.modified_at = time.time()

    # ------------------------------------------------------------------ the core

    def _at(self, position: int) -> File:
        """The core's handle, at that position."""
        file, node = self._file, self._node
        if file is None:
            core = self._tree.core
            if not node.stored:
                core.write_bytes(node.content, b"")
                node.stored = True
            if self._can_write:
                file = core.open(node.content, "r+b", lock="none")
            else:
                file = core.open(node.content, "rb", lock="none")
            self._file = file
        if self._file_position != position:
            file.seek(position)
            # Where it stands if the next call fails.
            self._file_position = position
        return file
