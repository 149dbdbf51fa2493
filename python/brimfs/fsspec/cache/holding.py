"""The files that a cache holds, within its limit: room is made before a file is written.

Content is in a `brimfs.FileSystem` of the cache's own, which bounds memory and disk. A file is
written under a name that no reader knows and gets its name when it is complete. Names are not used
twice: an entry always means the same bytes, or a file that is gone.

Knows no remote filesystem, and nobody who waits.
"""

from __future__ import annotations

import errno
import itertools
import json
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from brimfs import FileSystem, QuotaExceeded
from brimfs.fsspec.cache.index import Entry, Index, Key

ROOT = "/brimcache-1"
"""The only name in the root of a cache's filesystem; the number is that of this layout."""
FILES = f"{ROOT}/files"
FETCHING = f"{ROOT}/fetching"
_ATTRIBUTE = "user.brimcache"

_EVICTIONS = 64
"""How many files go, at least, before the store is taken to have no room at all."""
_NO_ROOM = (errno.ENOSPC, errno.ENOMEM)


class CacheStats(NamedTuple):
    """What a cache did since it was opened, and what it holds."""

    hits: int
    """Reads that were served from the cache."""
    misses: int
    """Reads that were not there, or not as the remote has them now."""
    fetches: int
    """Files that were fetched; reads of one file at the same time share a fetch."""
    fetched: int
    """Bytes that were fetched."""
    passed: int
    """Misses that were left to the remote: too large, or no room."""
    changed: int
    """Fetches that were thrown away because the file changed meanwhile."""
    damaged: int
    """Files that could not be read back, and were dropped."""
    evictions: int
    """Files that went to make room."""
    evicted: int
    """Their bytes."""
    files: int
    """Files that it holds."""
    bytes: int
    """What they take, with those that are being fetched."""
    limit: int
    """What they may take."""
    resident: int
    """Bytes in memory, names and buffers included."""
    memory_limit: int
    disk_used: int
    """Bytes on the disk."""
    disk_limit: int | None


@dataclass
class _Counts:
    hits: int = 0
    misses: int = 0
    fetches: int = 0
    fetched: int = 0
    passed: int = 0
    changed: int = 0
    damaged: int = 0
    evictions: int = 0
    evicted: int = 0


class Partial:
    """A file that is being fetched."""

    __slots__ = ("final_name", "name", "reserved", "size")

    def __init__(self, number: int) -> None:
        self.name = f"{FETCHING}/{number}"
        self.final_name = f"{FILES}/{number}"
        self.size = 0
        self.reserved = 0


class Holding:
    """Files of any number of remote filesystems, in a filesystem of their own."""

    def __init__(self, store: str | None, limit: int, options: dict[str, Any]) -> None:
        self.limit = limit
        self._kept = store is not None
        # Guards everything below. Under it nothing waits for a remote.
        self._lock = threading.RLock()
        try:
            self._open(store, {"quota": limit, **options})
        except QuotaExceeded:
            # It was filled under a higher limit.
            self._open(store, options)
            self._store.close()
            self._open(store, {"quota": limit, **options})

    def _open(self, store: str | None, options: dict[str, Any]) -> None:
        self._store = FileSystem(store, **options)
        self._index = Index()
        self._used = 0
        self._counts = _Counts()
        try:
            self._numbers = itertools.count(self._take_over(store))
        except BaseException:
            self._store.close()
            raise

    # ---- room

    def _begin(self) -> Partial:
        return Partial(next(self._numbers))

    def _reserve(self, partial: Partial, size: int) -> bool:
        """Put `size` bytes aside, for which others have to go; False if they never fit in."""
        if size > self.limit:
            return False
        with self._lock:
            while self._used + size > self.limit:
                if self._evict() is None:
                    return False
            self._used += size
            partial.reserved += size
        return True

    def _make(self, change: Callable[[], object], size: int) -> bool:
        """Change the store; where it has no room for that some files go, but not all in vain.

        What was evicted while somebody reads it takes room until it is closed, names take memory,
        and others can fill the disk.
        """
        freed = 0
        for turn in itertools.count():
            try:
                change()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                if self._kept and turn == 0 and not isinstance(error, QuotaExceeded):
                    # What was removed keeps its room on the disk until that is durable.
                    self._store.sync()
                    continue
            else:
                return True
            with self._lock:
                enough = turn >= _EVICTIONS and freed > 4 * size
                evicted = None if enough else self._evict()
            if evicted is None:
                return False
            freed += evicted
        raise AssertionError("counting ends with the files")

    def _evict(self) -> int | None:
        """Drop the file that is worth least, and say how large it was; None if there is none."""
        entry = self._index.pop_least()
        if entry is None:
            return None
        self._remove(entry)
        self._counts.evictions += 1
        self._counts.evicted += entry.size
        return entry.size

    def _remove(self, entry: Entry) -> None:
        """Free what a file took that is no longer in the index; the lock is held."""
        with suppress(FileNotFoundError):
            self._store.remove(entry.name)
        self._used -= entry.size

    def _put(self, partial: Partial, piece: bytes) -> bool:
        size = partial.size + len(piece)
        if size > partial.reserved and not self._reserve(partial, size - partial.reserved):
            return False

        def write() -> None:
            if partial.size == 0:
                self._store.write_bytes(partial.name, piece)
                return
            # An earlier try may have left a part of the piece.
            self._store.truncate(partial.name, partial.size)
            self._store.append_bytes(partial.name, piece)

        if not self._make(write, len(piece)):
            return False
        partial.size = size
        return True

    def _discard(self, partial: Partial) -> None:
        """Leave nothing of a file that was not published."""
        with self._lock:
            with suppress(FileNotFoundError):
                self._store.remove(partial.name)
            self._used -= partial.reserved
            partial.reserved = 0

    def _keep(self, key: Key, partial: Partial, version: str, checked: float) -> Entry | None:
        """Let a complete file be found, instead of the one before; the lock is held."""
        store, old, name = self._store, partial.name, partial.final_name
        told = json.dumps({"remote": key[0], "path": key[1], "version": version}).encode()
        if self._kept and not self._make(lambda: store.setxattr(old, _ATTRIBUTE, told), 0):
            return None
        if not self._make(lambda: store.rename(old, name), 0):
            return None
        # What was reserved is the entry's now.
        partial.reserved = 0
        entry = Entry(key, name, version, partial.size, checked)
        replaced = self._index.add(entry)
        if replaced is not None:
            self._remove(replaced)
        return entry

    # ---- the whole

    def stats(self) -> CacheStats:
        stats = self._store.stats()
        with self._lock:
            return CacheStats(
                **vars(self._counts),
                files=len(self._index),
                bytes=self._used,
                limit=self.limit,
                resident=stats.resident,
                memory_limit=stats.memory_limit,
                disk_used=stats.disk_used,
                disk_limit=stats.disk_limit,
            )

    def close(self) -> None:
        self._store.close()

    def _take_over(self, store: str | None) -> int:
        """Find what an earlier process left, and say the first number that is not in use."""
        names = self._store.listdir("/")
        if names not in ([], [ROOT[1:]]):
            raise ValueError(
                f"{store} is a store with files of its own, such as {names[0]!r}: "
                "a cache needs one that nothing else is kept in"
            )
        for directory in (FILES, FETCHING):
            self._store.mkdir(directory, parents=True, exist_ok=True)
        for entry in list(self._store.scandir(FETCHING)):
            self._store.remove(entry.path)
        found = sorted(self._store.listdir(FILES), key=int)
        for name in found:
            self._take_back(f"{FILES}/{name}")
        with self._lock:
            while self._used > self.limit:
                self._evict()
        return int(found[-1]) + 1 if found else 0

    def _take_back(self, name: str) -> None:
        # The attribute is there before the file gets its name.
        told = json.loads(self._store.getxattr(name, _ATTRIBUTE))
        reads = 1 + self._store.explain(name).accesses
        size = self._store.stat(name).st_size
        key = (told["remote"], told["path"])
        self._used += size
        replaced = self._index.add(Entry(key, name, told["version"], size, -math.inf, reads))
        if replaced is not None:
            # The process ended between a new version and the removal of the old one.
            self._remove(replaced)
