"""`MemoryFileSystem`: the calls on paths."""

from __future__ import annotations

import io
import operator
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

from brimfs.compat import _paths
from brimfs.compat.dmemfs import _exceptions as errors
from brimfs.compat.dmemfs import _lock, _transfer
from brimfs.compat.dmemfs._file import FLAT, DirNode, FileNode, Node
from brimfs.compat.dmemfs._glob import glob
from brimfs.compat.dmemfs._handle import MemoryFileHandle
from brimfs.compat.dmemfs._memory_guard import MemoryGuard
from brimfs.compat.dmemfs._quota import Ledger
from brimfs.compat.dmemfs._tree import Tree
from brimfs.compat.dmemfs._typing import MFSStatResult, MFSStats

if TYPE_CHECKING:
    from brimfs import View

__all__ = ["MemoryFileSystem"]

MODES = frozenset(("rb", "wb", "ab", "r+b", "xb"))
_STORAGES = ("auto", "sequential", "random_access")


class MemoryFileSystem:
    """A filesystem in memory with a quota, on brimfs.

    max_quota: bytes for content and, in the chunk form, `overhead` bytes for each append.
    chunk_overhead_override: that charge, 128 bytes if `None`.
    promotion_hard_limit: bytes of the largest file that can be changed in its middle, 512 MiB if
        `None`.
    max_nodes: the most files and directories, the root included; `None` is no limit.
    default_storage: "auto", "sequential" (files can only be appended to) or "random_access"
        (appends are not charged for).
    default_lock_timeout: seconds that `open` and copies wait for a file lock; `None` waits for
        ever.
    memory_guard: "none", "init" (compare the quota with the memory that is available) or
        "per_write".
    memory_guard_action: "warn" (a `ResourceWarning`) or "raise" (a `MemoryError`).
    memory_guard_interval: seconds that a look at the machine's memory counts.

    Paths are `str`; backslashes are slashes, relative ones start at the root, and one that leads
    above the root is a `ValueError`. Every `OSError` has `errno` and `filename`. All methods can
    be called from many threads; a wait for one file never stops a call on another."""

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
        if default_storage not in _STORAGES:
            raise ValueError(
                f"default_storage must be one of {', '.join(_STORAGES)}, not {default_storage!r}"
            )
        quota = _size(max_quota, "max_quota")
        guard = MemoryGuard(memory_guard, memory_guard_action, memory_guard_interval, quota)
        ledger = Ledger(quota, chunk_overhead_override, promotion_hard_limit, max_nodes, guard)
        self._tree = Tree(ledger, default_storage)
        self._default_lock_timeout = default_lock_timeout

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle or copy a MemoryFileSystem: it belongs to its process")

    # ------------------------------------------------------------------ open

    def open(
        self,
        path: str,
        mode: str = "rb",
        preallocate: int = 0,
        lock_timeout: float | None = None,
    ) -> MemoryFileHandle:
        """Open a file in a binary mode: `rb`, `wb`, `ab`, `r+b` or `xb`.

        preallocate: grow the file with zeros to so many bytes.
        lock_timeout: seconds to wait for the file lock, 0 only tries, `None` is the filesystem's
            default.

        Raises `ValueError` for another mode, `IsADirectoryError`, `FileNotFoundError` (a missing
        parent too), `FileExistsError` (`xb`), `BlockingIOError` if the lock does not become free,
        and the errors of limits; a file that was made for nothing is gone then."""
        if mode not in MODES:
            raise ValueError(f"invalid mode {mode!r}: not one of {', '.join(sorted(MODES))}")
        if lock_timeout is None:
            lock_timeout = self._default_lock_timeout
        event = None
        tree = self._tree
        with tree.lock:
            if mode == "rb" and not preallocate and type(path) is str:
                # What most calls are: a file that was found before, and nobody writes.
                known = tree.found.get(path)
                if (
                    type(known) is FileNode
                    and known.parent is not None
                    and not (known.writer or known.waiters)
                ):
                    known.readers += 1
                    return MemoryFileHandle(self, known, path, mode)
            node, is_new, exclusive = self._found(path, mode, preallocate)
            if is_new and not preallocate:
                return MemoryFileHandle(self, node, path, mode, mode == "ab")
            if not is_new and not _lock.try_take(node, exclusive):
                event = threading.Event()
                waiter = self._queued(node, exclusive, lock_timeout, path, event.set)
        if event is not None:
            _lock.wait(tree.lock, node, waiter, event, lock_timeout, path)
        if mode == "rb" and not exclusive:
            return MemoryFileHandle(self, node, path, mode)
        return self._opened(node, path, mode, preallocate, is_new, exclusive)

    def _found(self, path: str, mode: str, preallocate: int) -> tuple[FileNode, bool, bool]:
        """The file to open, whether it was made (and locked) for that, and whether the lock is
        exclusive.
        """
        tree = self._tree
        node = tree.get(path)
        if node is None:
            if mode == "rb" or mode == "r+b":
                raise errors.missing(path)
            try:
                node = tree.create(path)
            except errors.MFSQuotaExceededError as error:
                error.filename = path
                raise
            node.writer = True
            return node, True, True
        if type(node) is DirNode:
            raise errors.is_directory(path)
        assert type(node) is FileNode
        if mode == "xb":
            raise errors.exists(path)
        # What a preallocation changes, readers must not see change.
        return node, False, mode != "rb" or preallocate > node.size

    def _queued(
        self,
        node: FileNode,
        exclusive: bool,
        timeout: float | None,
        path: str,
        wake: Callable[[], object],
    ) -> _lock.Waiter:
        if timeout is not None and timeout <= 0:
            raise errors.lock_timeout(path)
        waiter = _lock.Waiter(exclusive, wake)
        _lock.enqueue(node, waiter)
        return waiter

    def _opened(
        self, node: FileNode, path: str, mode: str, preallocate: int, is_new: bool, exclusive: bool
    ) -> MemoryFileHandle:
        """The handle on a file whose lock is held. It is given back if that fails."""
        tree = self._tree
        handle = MemoryFileHandle(self, node, path, mode, mode == "ab")
        try:
            if mode == "wb" and not is_new:
                self._emptied(node)
            if preallocate:
                handle._preallocate(preallocate)
        except BaseException as error:
            if isinstance(error, OSError) and error.filename is None:
                error.filename = path
            with tree.lock:
                handle._is_closed = True
                _lock.give_back(node, exclusive)
                contents = tree.unlink(node) if is_new and not node.is_open() else []
            tree.drop_contents(contents)
            raise
        if exclusive and mode == "rb":
            with tree.lock:
                _lock.downgrade(node)
        return handle

    def _emptied(self, node: FileNode) -> None:
        if node.size or node.chunks > 0:
            if node.stored:
                self._tree.core.write_bytes(node.content, b"")
            with self._tree.lock:
                self._tree.ledger.settle(node, 0, FLAT if node.chunks == FLAT else 0)
            node.reserved = 0
        node.generation += 1
        node.modified_at = time.time()

    def _hold(self, path: str, timeout: float | None) -> FileNode:
        """The file of that path with its shared lock taken. Who calls gives it back."""
        event = None
        with self._tree.lock:
            node = self._tree.file(path)
            if not _lock.try_take(node, exclusive=False):
                event = threading.Event()
                waiter = self._queued(node, False, timeout, path, event.set)
        if event is not None:
            _lock.wait(self._tree.lock, node, waiter, event, timeout, path)
        return node

    def _release(self, node: FileNode) -> None:
        with self._tree.lock:
            _lock.give_back(node, exclusive=False)

    # ------------------------------------------------------------------ questions

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory of that path; `False` for one above the root."""
        return self._probe(path) is not None

    def is_file(self, path: str) -> bool:
        """Whether there is a file of that path; `False` for one above the root."""
        return type(self._probe(path)) is FileNode

    def is_dir(self, path: str) -> bool:
        """Whether there is a directory of that path; `False` for one above the root."""
        return type(self._probe(path)) is DirNode

    def _probe(self, path: str) -> Node | None:
        with self._tree.lock:
            try:
                return self._tree.get(path)
            except ValueError:
                return None

    def stat(self, path: str) -> MFSStatResult:
        """Size in bytes, times in seconds since the epoch, generation, and whether it is a
        directory.

        Raises `FileNotFoundError`.
        """
        with self._tree.lock:
            node = self._tree.get(path)
            if node is None:
                raise errors.missing(path)
            is_file = type(node) is FileNode
            return {
                "size": node.size if type(node) is FileNode else 0,
                "created_at": node.created_at,
                "modified_at": node.modified_at if type(node) is FileNode else node.created_at,
                "generation": node.generation if type(node) is FileNode else 0,
                "is_dir": not is_file,
            }

    def get_size(self, path: str) -> int:
        """The size of a file in bytes. Raises `FileNotFoundError` or `IsADirectoryError`."""
        with self._tree.lock:
            return self._tree.file(path).size

    def stats(self) -> MFSStats:
        """What is used, and the limits. O(1)."""
        with self._tree.lock:
            ledger = self._tree.ledger
            return {
                "used_bytes": ledger.used,
                "quota_bytes": ledger.quota,
                "free_bytes": ledger.quota - ledger.used,
                "file_count": ledger.files,
                "dir_count": ledger.dirs,
                "chunk_count": ledger.chunks,
                "overhead_per_chunk_estimate": ledger.overhead,
            }

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, in order of creation.

        Raises `FileNotFoundError` or `NotADirectoryError`.
        """
        with self._tree.lock:
            return list(self._tree.directory(path).children)

    def walk(self, path: str = "/") -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield (path, directory names, file names), parents first; names taken out of the second
        are left out.

        Raises `FileNotFoundError` or `NotADirectoryError` at the first `next`.
        """
        with self._tree.lock:
            top = self._tree.directory(path)
            stack = [(_paths.joined(_paths.parts(path)), top)]
        while stack:
            here, node = stack.pop()
            with self._tree.lock:
                if node.parent is None and node is not self._tree.root:
                    continue
                below = {name: n for name, n in node.children.items() if type(n) is DirNode}
                files = [name for name in node.children if name not in below]
            names = list(below)
            yield here, names, files
            base = "" if here == "/" else here
            stack += [(f"{base}/{name}", below[name]) for name in reversed(names) if name in below]

    def glob(self, pattern: str) -> list[str]:
        """Sorted paths of files and directories that match, each once.

        `*`, `?`, `[seq]` and `[!seq]` stand for text within a name, dots included, `**` for any
        depth."""
        with self._tree.lock:
            return glob(self._tree.root, pattern)

    # ------------------------------------------------------------------ changes of names

    def mkdir(self, path: str, exist_ok: bool = False) -> None:
        """Make a directory and the parents that are missing, all or nothing.

        Raises `FileExistsError` for what is there (a directory with `exist_ok` is fine) or a file
        in the way, and `MFSNodeLimitExceededError`."""
        tree = self._tree
        with tree.lock:
            node = tree.get(path)
            if node is not None:
                if exist_ok and type(node) is DirNode:
                    return
                raise errors.exists(path)
            base, names = tree.missing_directories(_paths.parts(path), path)
            _within_nodes(tree, len(names), path)
            tree.make_directories(base, names)

    def remove(self, path: str) -> None:
        """Remove a file. Raises `FileNotFoundError`, `IsADirectoryError`, or `BlockingIOError` if
        it is open.
        """
        tree = self._tree
        with tree.lock:
            node = tree.file(path)
            if node.is_open():
                raise errors.is_open(path)
            contents = tree.unlink(node)
        tree.drop_contents(contents)

    def rmtree(self, path: str) -> None:
        """Remove a directory with all that is in it, or nothing.

        Raises `ValueError` for the root, `FileNotFoundError`, `NotADirectoryError`, and
        `BlockingIOError` if a file in it is open."""
        tree = self._tree
        with tree.lock:
            node = tree.directory(path)
            if node is tree.root:
                raise ValueError("the root cannot be removed")
            tree.refuse_open(node, path)
            contents = tree.unlink(node)
        tree.drop_contents(contents)

    def rename(self, src: str, dst: str) -> None:
        """Give a file or directory another path.

        Raises `ValueError` for the root, `FileNotFoundError` for a missing source or parent,
        `FileExistsError` if `dst` is there, `BlockingIOError` if a file is open, and `OSError`
        (EINVAL) for a directory into itself."""
        tree = self._tree
        with tree.lock:
            node = self._movable(src, dst, "renamed")
            parent, name = tree.spot(dst)
            self._relink(node, parent, name, src, dst)

    def move(self, src: str, dst: str) -> None:
        """As `rename`, and makes the parents of `dst` that are missing; a file in their place is
        a `NotADirectoryError`.
        """
        tree = self._tree
        with tree.lock:
            node = self._movable(src, dst, "moved")
            *above, name = _paths.parts(dst)
            base, names = tree.missing_directories(above, dst)
            if tree.is_within(base, node):
                raise errors.into_itself(src, dst)
            tree.refuse_open(node, src)
            _within_nodes(tree, len(names), dst)
            tree.relink(node, tree.make_directories(base, names), name)

    def replace(self, src: str, dst: str) -> None:
        """Rename a file, in the place of another one if there is one, in one step.

        Raises what `rename` does, but for `FileExistsError`, and `IsADirectoryError` for
        directories."""
        tree = self._tree
        contents: list[str] = []
        with tree.lock:
            node = tree.file(src)
            tree.refuse_open(node, src)
            old = tree.get(dst)
            if old is node:
                return
            if old is None:
                parent, name = tree.spot(dst)
            else:
                old = tree.file(dst)
                tree.refuse_open(old, dst)
                assert old.parent is not None, "what a path leads to is linked"
                parent, name = old.parent, old.name
                contents = tree.unlink(old)
            tree.relink(node, parent, name)
        tree.drop_contents(contents)

    def _movable(self, src: str, dst: str, what: str) -> Node:
        tree = self._tree
        node = tree.get(src)
        if node is tree.root:
            raise ValueError(f"the root cannot be {what}")
        if node is None:
            raise errors.missing(src)
        if tree.get(dst) is not None:
            raise errors.exists(dst)
        return node

    def _relink(self, node: Node, parent: DirNode, name: str, src: str, dst: str) -> None:
        if self._tree.is_within(parent, node):
            raise errors.into_itself(src, dst)
        self._tree.refuse_open(node, src)
        self._tree.relink(node, parent, name)

    # ------------------------------------------------------------------ content as a whole

    def copy(self, src: str, dst: str) -> None:
        """Copy a file; content is shared until one side changes. `dst` must not be there.

        Raises `FileNotFoundError`, `IsADirectoryError`, `FileExistsError`, the errors of limits,
        and `BlockingIOError` if a writer keeps the file longer than the default timeout."""
        _transfer.copy(self, src, dst)

    def copy_tree(self, src: str, dst: str) -> None:
        """Copy a directory with all that is in it, or nothing. `dst` must not be there.

        Raises `FileNotFoundError`, `NotADirectoryError`, `FileExistsError`, the errors of limits,
        and `BlockingIOError` as `copy` does."""
        _transfer.copy_tree(self, src, dst)

    def import_tree(self, tree: Mapping[str, bytes]) -> None:
        """Write many files at once, or nothing: paths to bytes. Parents are made, files replaced.

        Raises `ValueError` for a path above the root, `TypeError` for a value that is not
        bytes-like, `IsADirectoryError`, `NotADirectoryError` for a path below a file,
        `BlockingIOError` if a file that would be replaced is open, and the errors of limits."""
        _transfer.import_tree(self, tree)

    def export_as_bytesio(self, path: str, max_size: int | None = None) -> io.BytesIO:
        """A file's content as an `io.BytesIO` of its own.

        Raises `ValueError` if it has more than `max_size` bytes, `FileNotFoundError`,
        `IsADirectoryError`, and `BlockingIOError` as `copy` does."""
        return io.BytesIO(_transfer.content_of(self, path, max_size))

    def export_tree(self, prefix: str = "/", only_dirty: bool = False) -> dict[str, bytes]:
        """Paths to contents of the file or of all files below the directory `prefix`; nothing if
        it is missing.

        only_dirty: only files with a generation above 0.
        """
        return dict(self.iter_export_tree(prefix, only_dirty))

    def iter_export_tree(
        self, prefix: str = "/", only_dirty: bool = False
    ) -> Iterator[tuple[str, bytes]]:
        """As `export_tree`, one after the other. Files that are removed meanwhile are left out."""
        return _transfer.iter_export(self, prefix, only_dirty)

    def view(self, path: str) -> View:
        """A zero-copy view of a file's content, which later changes do not change."""
        node = self._hold(path, self._default_lock_timeout)
        try:
            if not node.stored:
                self._tree.core.write_bytes(node.content, b"")
                node.stored = True
            return self._tree.core.view(node.content)
        finally:
            self._release(node)


def _within_nodes(tree: Tree, count: int, path: str) -> None:
    try:
        tree.ledger.need_nodes(count)
    except errors.MFSNodeLimitExceededError as error:
        error.filename = path
        raise


def _size(value: float, name: str) -> int:
    """A number of bytes. A whole number written as a float is one too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    size = operator.index(value)  # type: ignore[arg-type]
    if size < 0:
        raise ValueError(f"{name} must not be negative: {size}")
    return size
