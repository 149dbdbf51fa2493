"""`MemFileSystem`: memory first, a directory of the host behind it."""

from __future__ import annotations

import atexit
import contextlib
import errno
import itertools
import os
import shutil
import stat
import threading
import time
import weakref
from typing import Any, Self

from brimfs.compat.memfs.core._arguments import check_priority, content_of, key_of
from brimfs.compat.memfs.core._opening import host_state, limit_of, open_core
from brimfs.compat.memfs.core._pattern import pattern_of
from brimfs.compat.memfs.core.file import VirtualFile, parse_mode
from brimfs.compat.memfs.core.preload import PreloadTask
from brimfs.compat.memfs.core.write_back import WriteBack
from brimfs.compat.memfs.storage.hybrid import Entry, ExternalModificationError, Tiers
from brimfs.compat.memfs.utils.logger import OperationLogger, OperationType
from brimfs.compat.memfs.utils.stats import Statistics

__all__ = ["ExternalModificationError", "MemFileSystem"]

DEFAULT_PRIORITY = 5
_SIDE_DIRECTORY = ".brimfs"
_ORDERS = 64
"""Files that share a lock for the order of their writes."""


class MemFileSystem:
    """Files in memory up to a limit, the rest in a directory of the host.

    memory_limit_bytes: bytes of content that may be in memory. It wins over the share.
    memory_limit_percent: the limit as a share, more than 0 and up to 1, of what the machine gives.
    persist_path: the directory; `~` is expanded. It is made if it is missing.
    storage_mode: "temp": the directory has to be missing or empty, gets what memory has no room
        for, encrypted, and is removed at the end. "persist": one plain file for each file, there
        again the next time.
    worker_threads: at least 1; how many threads of the older package did is done by one here.
    enable_logging: keep a log of operations, `logger`. log_path: a file that gets it too.
    priority_boost_threshold: each read after so many raises the priority by one, to at most 8.
    memory_limit: another word for `memory_limit_percent`.

    Priorities are 0 to 10: what has the lower one, and is read less, leaves memory first; 9 and
    10 leave it only by `gc`, or when nothing else is left. Paths are `str`; backslashes are
    slashes, relative ones start at the root, and one that leads above the root is a `ValueError`.
    After `shutdown` every call is a `RuntimeError`."""

    # Until it is finished there is nothing to shut down.
    _is_shut = True

    def __init__(
        self,
        memory_limit_bytes: int | None = None,
        memory_limit_percent: float = 0.8,
        persist_path: str | os.PathLike[str] = "./memfs_data",
        storage_mode: str = "temp",
        worker_threads: int = 4,
        enable_logging: bool = True,
        log_path: str | os.PathLike[str] | None = None,
        priority_boost_threshold: int = 10,
        *,
        memory_limit: float | None = None,
    ) -> None:
        if storage_mode not in ("temp", "persist"):
            raise ValueError(f"storage_mode must be 'temp' or 'persist', not {storage_mode!r}")
        if worker_threads < 1:
            raise ValueError(f"worker_threads must be at least 1: {worker_threads}")
        share = memory_limit_percent if memory_limit is None else memory_limit
        limit = limit_of(memory_limit_bytes, share)
        self.persist_path = os.path.abspath(os.path.expanduser(os.fspath(persist_path)))
        self.storage_mode = storage_mode
        self.priority_boost_threshold = priority_boost_threshold
        self._is_temp = storage_mode == "temp"
        self._lock = threading.RLock()
        self._orders = [threading.RLock() for _ in range(_ORDERS)]
        self._tiers = Tiers(limit)
        self._stats = Statistics()
        self._tasks = itertools.count(1)
        self._core = open_core(self.persist_path, self._is_temp, limit)
        if not self._is_temp:
            self._scan()
        self.logger = OperationLogger(log_path) if enable_logging else None
        self._write_back_thread = WriteBack(
            self._core, self._tiers, self._lock, self.persist_path, self._is_temp
        )
        self._is_shut = False
        _open.add(self)

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.shutdown()

    def _check(self) -> None:
        if self._is_shut:
            raise RuntimeError("the filesystem was shut down")

    def _scan(self) -> None:
        """Every file of the directory is visible at once; nothing of it is read."""
        for here, _, files in self._core.walk("/"):
            base = "" if here == "/" else here
            for name in files:
                path = f"{base}/{name}"
                with contextlib.suppress(OSError):
                    status = self._core.stat(path, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        entry = self._tiers.add(path, status.st_size, DEFAULT_PRIORITY)
                        self._tiers.set_durable(entry, True)

    # ------------------------------------------------------------------ whole files

    def write(
        self, path: str, data: str | bytes | bytearray, priority: int = DEFAULT_PRIORITY
    ) -> int:
        """Write a whole file, text as UTF-8. Parents are made. Returns the number of bytes.

        Raises `TypeError` for other data, `ValueError` for a priority that is none,
        `IsADirectoryError`, `NotADirectoryError` for a path below a file, and `OSError` if it
        cannot be stored."""
        self._check()
        started = time.perf_counter()
        key = key_of(path)
        content = content_of(data)
        check_priority(priority)
        self._store(key, content, priority)
        seconds = time.perf_counter() - started
        self._stats.count_write(seconds)
        self._log(OperationType.WRITE, path, len(content), priority, seconds)
        return len(content)

    def _store(self, key: str, content: bytes, priority: int) -> None:
        tiers = self._tiers
        # One file's content and its entry change together; other files go on meanwhile.
        with self._order_of(key):
            try:
                self._core.write_bytes(key, content, priority=priority)
            except FileNotFoundError:
                self._make_parents(key)
                self._core.write_bytes(key, content, priority=priority)
            with self._lock:
                entry = tiers.entries.get(key)
                if entry is None:
                    entry = tiers.add(key, len(content), priority)
                else:
                    tiers.resize(entry, len(content))
                    entry.priority = priority
                    entry.queued = None
                self._left([*tiers.enter(entry), entry])
                self._write_back_thread.changed(entry)

    def _order_of(self, key: str) -> threading.RLock:
        return self._orders[hash(key) % _ORDERS]

    def _spilled(self, entry: Entry) -> None:
        """In temp mode what left memory lies on the disk."""
        if self._is_temp and not entry.in_memory:
            self._tiers.set_durable(entry, True)

    def _make_parents(self, key: str) -> None:
        parent = key.rpartition("/")[0]
        try:
            self._core.mkdir(parent or "/", parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), key) from None

    def read(self, path: str, priority: int | None = None, check_external: bool = True) -> bytes:
        """The content of a file. A priority given here becomes the file's.

        check_external: look whether somebody else changed the file of the host, and take that then.

        Raises `FileNotFoundError`, for a directory too, and `ExternalModificationError` if
        somebody else emptied the file."""
        self._check()
        started = time.perf_counter()
        key = key_of(path)
        if priority is not None:
            check_priority(priority)
        content, is_hit = self._fetch(key, path, check_external)
        if priority is not None:
            self.set_priority(path, priority)
        seconds = time.perf_counter() - started
        self._stats.count_read(is_hit, seconds)
        self._log(OperationType.READ, path, len(content), priority, seconds)
        return content

    def _fetch(self, key: str, path: str, check_external: bool) -> tuple[bytes, bool]:
        tiers = self._tiers
        with self._lock:
            entry = tiers.entries.get(key)
            if entry is None:
                entry = self._appeared(key)
            elif check_external and entry.host is not None:
                self._look_at_host(entry)
            if entry is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            is_hit = entry.in_memory
        # What lies on the disk is read with no lock held.
        content = self._core.read_bytes(key)
        with self._lock:
            if tiers.entries.get(key) is entry:
                if len(content) != entry.size and entry.is_durable and not is_hit:
                    # Somebody else changed a file that was not in memory.
                    tiers.resize(entry, len(content))
                    tiers.set_durable(entry, True)
                if tiers.touch(entry, self.priority_boost_threshold):
                    self._core.set_priority(key, entry.priority)
                if not entry.in_memory:
                    self._load(entry)
        return content, is_hit

    def _load(self, entry: Entry) -> None:
        self._left(self._tiers.enter(entry))
        if entry.in_memory:
            self._tiers.swaps_in += 1
            if not self._is_temp:
                entry.host = host_state(self._host_path(entry.path))

    def _left(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._spilled(entry)

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory, one that somebody else put into the directory
        since too.
        """
        self._check()
        try:
            key = key_of(path)
        except ValueError:
            return False
        if key in self._tiers.entries or self._core.is_dir(key):
            return True
        with self._lock:
            return self._appeared(key) is not None or self._core.is_dir(key)

    def delete(self, path: str) -> bool:
        """Remove a file. `False` if there is none of that path."""
        self._check()
        key = key_of(path)
        with self._order_of(key), self._lock:
            if key not in self._tiers.entries and self._appeared(key) is None:
                self._log(OperationType.DELETE, path, success=False, error="no such file")
                return False
            # Somebody else may have removed it from the directory.
            with contextlib.suppress(FileNotFoundError):
                self._core.remove(key)
            self._tiers.discard(key)
            self._write_back_thread.changed(None)
            self._stats.delete_count += 1
        self._log(OperationType.DELETE, path)
        return True

    def clear(self) -> None:
        """Remove all files and directories, and set the statistics to zero."""
        self._check()
        with self._lock:
            for name in self._core.listdir("/"):
                if self._core.is_dir(f"/{name}") and not self._core.is_symlink(f"/{name}"):
                    self._core.rmtree(f"/{name}")
                else:
                    self._core.remove(f"/{name}")
            for key in list(self._tiers.entries):
                self._tiers.discard(key)
            self._tiers.reset_counters()
            self._stats.reset()
            self._write_back_thread.changed(None)

    # ------------------------------------------------------------------ what others do on the host

    def _host_path(self, key: str) -> str:
        return self.persist_path + key

    def _appeared(self, key: str) -> Entry | None:
        """The entry of a file that somebody else made in the directory."""
        if (
            self._is_temp
            or key.split("/")[1] == _SIDE_DIRECTORY
            or host_state(self._host_path(key)) is None
        ):
            return None
        self._core.sync()
        self._core.refresh("reload")
        try:
            size = self._core.stat(key, follow_symlinks=False).st_size
        except OSError:
            return None
        entry = self._tiers.add(key, size, DEFAULT_PRIORITY)
        self._tiers.set_durable(entry, True)
        return entry

    def _look_at_host(self, entry: Entry) -> None:
        state = host_state(self._host_path(entry.path))
        if state is None or state == entry.host or not entry.is_durable:
            return
        if not state[1]:
            raise ExternalModificationError(
                f"{entry.path!r} was emptied by somebody else: {self._host_path(entry.path)!r}"
            )
        self._core.refresh("reload")
        self._tiers.resize(entry, state[1])
        self._tiers.set_durable(entry, True)
        self._left(self._tiers.enter(entry))
        entry.host = state

    # ------------------------------------------------------------------ files and directories

    def open(self, path: str, mode: str = "rb", priority: int = DEFAULT_PRIORITY) -> VirtualFile:
        """Open a file in a mode of the built-in `open`. Parents are made when it is written back.

        priority: that of a file that is made.

        Raises `ValueError` for another mode, `FileNotFoundError` (`r`), `FileExistsError` (`x`) and
        `IsADirectoryError`.
        """
        self._check()
        kind, _, _ = parse_mode(mode)
        check_priority(priority)
        key = key_of(path)
        if self._core.is_dir(key):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if kind == "x" and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        content = b""
        if kind in "ra":
            try:
                content, is_hit = self._fetch(key, path, check_external=True)
                self._stats.count_read(is_hit, 0.0)
            except FileNotFoundError:
                if kind == "r":
                    raise
        operation = OperationType.READ if kind == "r" else OperationType.WRITE
        self._log(operation, path, len(content), priority)
        return VirtualFile(self, key, mode, content, priority)

    def _write_back(self, key: str, content: bytes, priority: int) -> None:
        """Stores what a file wrote. One that is there keeps its priority, unless another was
        asked for.
        """
        self._check()
        entry = self._tiers.entries.get(key)
        if entry is not None and priority == DEFAULT_PRIORITY:
            priority = entry.priority
        self._store(key, content, priority)
        self._stats.count_write(0.0)

    def mkdir(self, path: str) -> bool:
        """Make a directory and its parents; one that is there is fine. `False` if a file is in
        the way.
        """
        self._check()
        try:
            self._core.mkdir(key_of(path), parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            return False
        self._write_back_thread.changed(None)
        self._log(OperationType.MKDIR, path)
        return True

    def rmdir(self, path: str) -> bool:
        """Remove an empty directory. `False` for a file, a missing or full one, and the root."""
        self._check()
        try:
            self._core.rmdir(key_of(path))
        except OSError:
            return False
        self._write_back_thread.changed(None)
        self._log(OperationType.RMDIR, path)
        return True

    def listdir(self, path: str = "/") -> list[str]:
        """The names in a directory, files first. Raises `FileNotFoundError`, for a file too."""
        self._check()
        key = key_of(path)
        try:
            dirs, files, _ = self._core._names(key)
        except NotADirectoryError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
        return [name for name in files + dirs if key != "/" or name != _SIDE_DIRECTORY]

    def glob(self, pattern: str, *, files_only: bool = True) -> list[str]:
        """Sorted paths of the files that match; of directories too with `files_only=False`.

        `*`, `?`, `[seq]` and `[!seq]` stand for text within a name, `**` for any depth.
        """
        self._check()
        matches = pattern_of(pattern).fullmatch
        with self._lock:
            paths = list(self._tiers.entries)
        if not files_only:
            paths += [here for here, _, _ in self._core.walk("/") if here != "/"]
        return sorted(path for path in paths if matches(path))

    # ------------------------------------------------------------------ tiers

    def set_priority(self, path: str, priority: int) -> bool:
        """Say what a file is worth, 0 to 10. `False` if there is none; `ValueError` for another
        number.
        """
        self._check()
        check_priority(priority)
        with self._lock:
            entry = self._entry(path)
            if entry is None:
                return False
            self._core.set_priority(entry.path, priority)
            self._tiers.prioritise(entry, priority)
        self._log(OperationType.SET_PRIORITY, path, priority=priority)
        return True

    def get_priority(self, path: str) -> int | None:
        """What a file is worth, or `None` if there is none."""
        self._check()
        with self._lock:
            entry = self._entry(path)
            return None if entry is None else entry.priority

    def _entry(self, path: str) -> Entry | None:
        return self._tiers.entries.get(key_of(path))

    def preload(self, path: str, priority: int = DEFAULT_PRIORITY) -> PreloadTask:
        """Bring a file into memory in the background. Returns a task, which is a `str` too.

        `PreloadTask.wait` waits for it, `result` raises what went wrong, such as
        `FileNotFoundError`."""
        self._check()
        check_priority(priority)
        key = key_of(path)
        with self._lock:
            entry = self._tiers.entries.get(key)
            if entry is None:
                entry = self._appeared(key)
            if entry is not None:
                self._core.set_priority(key, priority)
                self._tiers.prioritise(entry, priority)
                if not entry.in_memory:
                    self._load(entry)
                self._stats.preloads += 1
        task = PreloadTask.start(self._core, next(self._tasks), key)
        self._log(OperationType.PRELOAD, path, priority=priority)
        return task

    def gc(self, target_usage: float = 0.5) -> int:
        """Take what is worth least out of memory, down to a share of the limit. Returns how many
        files.

        Files of priority 9 and 10 go too, last. Raises `ValueError` for a share outside 0 to 1.
        """
        self._check()
        if not 0 <= target_usage <= 1:
            raise ValueError(f"target_usage must be 0 to 1: {target_usage}")
        with self._lock:
            tiers = self._tiers
            left = tiers.shrink(int(tiers.limit * target_usage))
            self._left(left)
            for entry in left:
                entry.host = None
        if left:
            self.flush()
            self._core.gc(target_usage)
        self._log(OperationType.GC, "", metadata={"files": len(left)})
        return len(left)

    def flush(self) -> None:
        """Wait until all that was done before is durable, in persist mode.

        Raises `OSError` if the disk is full or fails.
        """
        self._check()
        if not self._is_temp:
            self._write_back_thread.sync()

    sync = flush

    # ------------------------------------------------------------------ what there is to know

    def get_stats(self) -> dict[str, Any]:
        """Counters, in sections. Sizes in bytes, `_mb` in MiB, shares in percent, times in
        milliseconds.
        """
        self._check()
        try:
            capacity = shutil.disk_usage(self.persist_path).total
        except OSError:
            capacity = 0
        with self._lock:
            return self._stats.get_stats(self._tiers, self.persist_path, capacity)

    def get_file_info(self, path: str) -> dict[str, Any] | None:
        """Where a file is, and what is known of it; `None` if there is none.

        Keys: `path` as it was given, `key` as it is stored, `location` ("memory": not on the
            disk, "both", "real": on the disk, also called "disk"), `in_memory`, `priority`,
            `size` in bytes, `created_at` and `last_accessed` in seconds since the epoch,
            `access_count`, and `mtime`, of the last change."""
        self._check()
        with self._lock:
            entry = self._entry(path) or self._appeared(key_of(path))
            if entry is None:
                return None
            return {
                "path": path,
                "key": entry.path,
                "location": entry.location,
                "in_memory": entry.in_memory,
                "priority": entry.priority,
                "size": entry.size,
                "created_at": entry.created_at,
                "last_accessed": entry.last_accessed,
                "access_count": entry.access_count,
                "mtime": self._core.stat(entry.path).st_mtime,
            }

    def get_memory_map(self) -> dict[str, dict[str, Any]]:
        """Paths of the files in memory to `in_memory`, `priority`, `size` and `location`."""
        self._check()
        with self._lock:
            entries = [entry for entry in self._tiers.entries.values() if entry.in_memory]
            keys = ("in_memory", "priority", "size", "location")
            return {entry.path: {key: getattr(entry, key) for key in keys} for entry in entries}

    def _log(
        self,
        operation: OperationType,
        path: str,
        size: int = 0,
        priority: int | None = None,
        seconds: float = 0.0,
        **more: Any,
    ) -> None:
        if self.logger is not None:
            self.logger.log(operation, path, size, priority, seconds * 1000, **more)

    # ------------------------------------------------------------------ the end

    def shutdown(self, wait: bool = True) -> int:
        """End the filesystem; in persist mode everything is durable then. A second time is fine.

        wait: return when it is done. Otherwise that goes on in a thread, and what is returned is
            how many files are waiting for the disk.

        Raises `OSError` if not everything could be made durable.
        """
        with self._lock:
            if self._is_shut:
                return 0
            self._is_shut = True
            waiting = self._write_back_thread.waiting()
        _open.discard(self)
        if wait:
            self._end()
            return 0
        threading.Thread(target=self._end, name="memfs-shutdown").start()
        return waiting

    def shutdown_async(self) -> int:
        """`shutdown(wait=False)`."""
        return self.shutdown(wait=False)

    close = shutdown

    def _end(self) -> None:
        try:
            self._write_back_thread.stop()
            self._core.close()
        finally:
            if self.logger is not None:
                self.logger.close()
            if self._is_temp:
                shutil.rmtree(self.persist_path, ignore_errors=True)

    def __del__(self) -> None:
        # What was never finished has nothing to end. At exit all that is open was ended before.
        if not getattr(self, "_is_shut", True):
            with contextlib.suppress(OSError):
                self.shutdown()


_open: weakref.WeakSet[MemFileSystem] = weakref.WeakSet()


def _shut_all() -> None:
    for filesystem in list(_open):
        filesystem.shutdown()


atexit.register(_shut_all)
