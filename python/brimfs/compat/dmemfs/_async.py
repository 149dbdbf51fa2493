"""The same filesystem for asyncio.

Calls run where they are made: they take microseconds. Who waits for a file lock waits in the
event loop, as a future, and leaves nothing behind when it is cancelled. Moving many bytes is left
to a thread."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping
from typing import ParamSpec, Self, TypeVar

from brimfs.compat.dmemfs import _exceptions as errors
from brimfs.compat.dmemfs import _lock
from brimfs.compat.dmemfs._file import FileNode
from brimfs.compat.dmemfs._fs import MODES, MemoryFileSystem
from brimfs.compat.dmemfs._handle import MemoryFileHandle
from brimfs.compat.dmemfs._typing import MFSStatResult, MFSStats

__all__ = ["AsyncMemoryFileHandle", "AsyncMemoryFileSystem"]

_INLINE = 256 * 1024
"""More bytes than that are moved in a thread."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def _ended(call: Callable[_P, _T], *arguments: _P.args, **keywords: _P.kwargs) -> _T:
    """The result of a call in a thread. Who is cancelled meanwhile waits for its end first."""
    task = asyncio.ensure_future(asyncio.to_thread(call, *arguments, **keywords))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class AsyncMemoryFileHandle:
    """An open file of `AsyncMemoryFileSystem`, with the methods of `MemoryFileHandle`."""

    def __init__(self, _sync_handle: MemoryFileHandle) -> None:
        self._handle = _sync_handle

    async def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all that are left if it is negative."""
        handle = self._handle
        left = handle._node.size - handle._position
        if (left if size is None or size < 0 else min(size, left)) > _INLINE:
            return await _ended(handle.read, size)
        return handle.read(size)

    async def write(self, data: bytes) -> int:
        """Write at the position. Returns the number of bytes."""
        if isinstance(data, (bytes, bytearray, memoryview)) and len(data) > _INLINE:
            return await _ended(self._handle.write, data)
        return self._handle.write(data)

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Move to `offset` from the start (0), the position (1) or the end (2)."""
        return self._handle.seek(offset, whence)

    async def tell(self) -> int:
        """The position."""
        return self._handle.tell()

    async def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file. Returns the new size."""
        return self._handle.truncate(size)

    async def flush(self) -> None:
        """Nothing."""
        self._handle.flush()

    async def readable(self) -> bool:
        """Whether it can be read from."""
        return self._handle.readable()

    async def writable(self) -> bool:
        """Whether it can be written to."""
        return self._handle.writable()

    async def seekable(self) -> bool:
        """True."""
        return self._handle.seekable()

    async def close(self) -> None:
        """Give the file lock back. Closing twice is fine."""
        self._handle.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._handle.close()


class AsyncMemoryFileSystem:
    """`MemoryFileSystem` with coroutines for methods; the constructor and all results are the same.

    `walk` returns a list. Several event loops can use one filesystem, each from its own thread.
    """

    def __init__(
        self,
        max_quota: int = 256 * 1024 * 1024,
        chunk_overhead_override: int | None = None,
        promotion_hard_limit: int | None = None,
        max_nodes: int | None = None,
        default_storage: str = "auto",
        default_lock_timeout: float | None = 30.0,
        memory_guard: str = "none",
        memory_guard_action: str = "warn",
        memory_guard_interval: float = 1.0,
    ) -> None:
        self._sync = MemoryFileSystem(
            max_quota,
            chunk_overhead_override,
            promotion_hard_limit,
            max_nodes,
            default_storage,
            default_lock_timeout,
            memory_guard,
            memory_guard_action,
            memory_guard_interval,
        )

    async def open(
        self,
        path: str,
        mode: str = "rb",
        preallocate: int = 0,
        lock_timeout: float | None = None,
    ) -> AsyncMemoryFileHandle:
        """Open a file; see `MemoryFileSystem.open`. Cancelled, it takes no lock, makes no file."""
        fs = self._sync
        if mode not in MODES:
            raise ValueError(f"invalid mode {mode!r}: not one of {', '.join(sorted(MODES))}")
        if lock_timeout is None:
            lock_timeout = fs._default_lock_timeout
        future: asyncio.Future[None] | None = None
        tree = fs._tree
        with tree.lock:
            if mode == "rb" and not preallocate and type(path) is str:
                known = tree.found.get(path)
                if (
                    type(known) is FileNode
                    and known.parent is not None
                    and not (known.writer or known.waiters)
                ):
                    known.readers += 1
                    return AsyncMemoryFileHandle(MemoryFileHandle(fs, known, path, mode))
            node, is_new, exclusive = fs._found(path, mode, preallocate)
            if not is_new and not _lock.try_take(node, exclusive):
                future = asyncio.get_running_loop().create_future()
                waiter = fs._queued(node, exclusive, lock_timeout, path, _waker(future))
        if future is not None:
            try:
                await asyncio.wait([future], timeout=lock_timeout)
            except BaseException:
                with fs._tree.lock:
                    if _lock.give_up(node, waiter):
                        _lock.give_back(node, exclusive)
                raise
            with fs._tree.lock:
                if not _lock.give_up(node, waiter):
                    raise errors.lock_timeout(path)
        return AsyncMemoryFileHandle(fs._opened(node, path, mode, preallocate, is_new, exclusive))

    async def mkdir(self, path: str, exist_ok: bool = False) -> None:
        """See `MemoryFileSystem.mkdir`."""
        self._sync.mkdir(path, exist_ok)

    async def rename(self, src: str, dst: str) -> None:
        """See `MemoryFileSystem.rename`."""
        self._sync.rename(src, dst)

    async def move(self, src: str, dst: str) -> None:
        """See `MemoryFileSystem.move`."""
        self._sync.move(src, dst)

    async def replace(self, src: str, dst: str) -> None:
        """See `MemoryFileSystem.replace`."""
        self._sync.replace(src, dst)

    async def remove(self, path: str) -> None:
        """See `MemoryFileSystem.remove`."""
        self._sync.remove(path)

    async def rmtree(self, path: str) -> None:
        """See `MemoryFileSystem.rmtree`."""
        self._sync.rmtree(path)

    async def listdir(self, path: str) -> list[str]:
        """See `MemoryFileSystem.listdir`."""
        return self._sync.listdir(path)

    async def exists(self, path: str) -> bool:
        """See `MemoryFileSystem.exists`."""
        return self._sync.exists(path)

    async def is_dir(self, path: str) -> bool:
        """See `MemoryFileSystem.is_dir`."""
        return self._sync.is_dir(path)

    async def is_file(self, path: str) -> bool:
        """See `MemoryFileSystem.is_file`."""
        return self._sync.is_file(path)

    async def stat(self, path: str) -> MFSStatResult:
        """See `MemoryFileSystem.stat`."""
        return self._sync.stat(path)

    async def stats(self) -> MFSStats:
        """See `MemoryFileSystem.stats`."""
        return self._sync.stats()

    async def get_size(self, path: str) -> int:
        """See `MemoryFileSystem.get_size`."""
        return self._sync.get_size(path)

    async def walk(self, path: str = "/") -> list[tuple[str, list[str], list[str]]]:
        """All that `MemoryFileSystem.walk` yields."""
        return list(self._sync.walk(path))

    async def glob(self, pattern: str) -> list[str]:
        """See `MemoryFileSystem.glob`."""
        return self._sync.glob(pattern)

    # What may wait for a writer, or moves many bytes, is left to a thread.

    async def copy(self, src: str, dst: str) -> None:
        """See `MemoryFileSystem.copy`."""
        await _ended(self._sync.copy, src, dst)

    async def copy_tree(self, src: str, dst: str) -> None:
        """See `MemoryFileSystem.copy_tree`."""
        await _ended(self._sync.copy_tree, src, dst)

    async def import_tree(self, tree: Mapping[str, bytes]) -> None:
        """See `MemoryFileSystem.import_tree`."""
        await _ended(self._sync.import_tree, tree)

    async def export_as_bytesio(self, path: str, max_size: int | None = None) -> io.BytesIO:
        """See `MemoryFileSystem.export_as_bytesio`."""
        return await _ended(self._sync.export_as_bytesio, path, max_size)

    async def export_tree(self, prefix: str = "/", only_dirty: bool = False) -> dict[str, bytes]:
        """See `MemoryFileSystem.export_tree`."""
        return await _ended(self._sync.export_tree, prefix, only_dirty)


def _waker(future: asyncio.Future[None]) -> Callable[[], object]:
    """Ends a future of this event loop, from any thread."""
    loop = future.get_loop()

    def end() -> None:
        if not future.done():
            future.set_result(None)

    def wake() -> bool:
        try:
            loop.call_soon_threadsafe(end)
        except RuntimeError:
            # The loop was closed with the wait in it.
            return False
        return True

    return wake
