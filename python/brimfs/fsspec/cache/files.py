"""The files that a cache holds: fetched once, complete or not there, within a limit.

Content is in a `brimfs.FileSystem` of the cache's own, which bounds memory and disk. This module
decides what is in it. It knows remote filesystems as a `Source` only.

A file is written under a name that no reader knows, compared with what the remote says before and
after, and gets its name when it is complete. Names are not used twice: an entry always means the
same bytes, or a file that is gone.
"""

from __future__ import annotations

import errno
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar

from brimfs import FileSystem, QuotaExceeded
from brimfs.fsspec.cache.index import Entry, Index, Key
from brimfs.fsspec.cache.remote import Version

T = TypeVar("T")

ROOT = "/brimcache-1"
"""The only name in the root of a cache's filesystem; the number is that of this layout."""
_FILES = f"{ROOT}/files"
_FETCHING = f"{ROOT}/fetching"
_ATTRIBUTE = "user.brimcache"

_ATTEMPTS = 5
"""How often a file is fetched that changes meanwhile."""
_UNKNOWN_SHARE = 8
"""A file of unknown size is held if it takes no more than this part of the limit."""
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


class Fetched(Protocol):
    """Where a file comes from."""

    path: str

    def version(self) -> Version: ...

    def pieces(self, size: int | None) -> Iterator[bytes]: ...


class _Verdict(Enum):
    AGAIN = "somebody wrote to the file, or the fetch was interrupted"


_Flight = Future[Entry | _Verdict | None]


class _Partial:
    """A file that is being fetched."""

    __slots__ = ("name", "reserved", "size")

    def __init__(self, number: int) -> None:
        self.name = f"{_FETCHING}/{number}"
        self.size = 0
        self.reserved = 0


class Cache:
    """Files of any number of remote filesystems, in a filesystem of their own."""

    def __init__(self, store: str | None, limit: int, options: dict[str, Any]) -> None:
        self.limit = limit
        self._kept = store is not None
        # Guards everything below. Under it nothing waits for a remote.
        self._lock = threading.RLock()
        self._flights: dict[Key, _Flight] = {}
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

    # ---- reading

    def read(
        self, key: Key, source: Fetched, max_age: float, use: Callable[[FileSystem, str], T]
    ) -> T | None:
        """What `use` makes of the file, as the remote had it at most `max_age` seconds ago.

        None if the cache cannot hold it, and whoever asks has to turn to the remote.
        """
        counts = self._counts
        for attempt in range(_ATTEMPTS):
            entry = self._index.get(key)
            fresh = entry is not None and time.monotonic() - entry.checked <= max_age
            if entry is None or not fresh:
                entry, fresh = self._obtain(key, source)
                if entry is None:
                    break
            try:
                used = use(self._store, entry.name)
            except OSError as error:
                # It was evicted in this moment, or what lies on the disk is no longer what it was.
                if error.errno not in (errno.ENOENT, errno.EIO):
                    raise
                if error.errno == errno.EIO:
                    self._drop_damaged(entry)
                continue
            with self._lock:
                if attempt == 0 and fresh:
                    counts.hits += 1
                    self._index.touch(entry)
                else:
                    counts.misses += 1
            return used
        with self._lock:
            counts.misses += 1
            counts.passed += 1
        return None

    def _obtain(self, key: Key, source: Fetched) -> tuple[Entry | None, bool]:
        """The file as it is now, and whether it was there already."""
        for _ in range(_ATTEMPTS):
            checked = time.monotonic()
            try:
                version = source.version()
            except FileNotFoundError:
                self.drop(key)
                raise
            with self._lock:
                entry = self._index.get(key)
                if entry is not None and entry.version == version.key:
                    entry.checked = max(entry.checked, checked)
                    return entry, True
                flight = self._flights.get(key)
                if leads := flight is None:
                    flight = self._flights[key] = Future()
            found = self._fly(key, flight, source, version) if leads else flight.result()
            if not isinstance(found, _Verdict):
                return found, False
        return None, False

    def _fly(
        self, key: Key, flight: _Flight, source: Fetched, version: Version
    ) -> Entry | _Verdict | None:
        """Fetch, and tell those who wait for it."""
        found: Entry | _Verdict | None = _Verdict.AGAIN
        try:
            found = self._fetch(key, flight, source, version)
            return found
        except Exception as error:
            self._land(key, flight)
            flight.set_exception(error)
            raise
        finally:
            self._land(key, flight)
            if not flight.done():
                flight.set_result(found)

    def _land(self, key: Key, flight: _Flight) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def _fetch(
        self, key: Key, flight: _Flight, source: Fetched, version: Version
    ) -> Entry | _Verdict | None:
        for _ in range(_ATTEMPTS):
            partial = _Partial(next(self._numbers))
            try:
                if not self._fill(partial, source, version):
                    return None
                checked = time.monotonic()
                now = source.version()
                if now == version and version.size in (None, partial.size):
                    with self._lock:
                        self._counts.fetches += 1
                        self._counts.fetched += partial.size
                    return self._publish(key, flight, partial, version, checked)
            finally:
                self._discard(partial)
            with self._lock:
                self._counts.changed += 1
            told, version = version, now
        if now == told:
            raise OSError(
                errno.EIO,
                f"The remote says {told.size} bytes and sends {partial.size}",
                source.path,
            )
        raise OSError(
            errno.ESTALE, f"The file changed each of the {_ATTEMPTS} times it was read", source.path
        )

    def _fill(self, partial: _Partial, source: Fetched, version: Version) -> bool:
        """Bring the content in; False where there is no room for it."""
        if version.size is not None and not self._reserve(partial, version.size):
            return False
        for piece in source.pieces(version.size):
            if version.size is not None and partial.size + len(piece) > version.size:
                # It grew meanwhile. That it is not what was asked for is seen by its size.
                partial.size += len(piece)
                return True
            if not self._put(partial, piece):
                return False
        # An empty file has no pieces.
        return partial.size > 0 or self._put(partial, b"")

    def _put(self, partial: _Partial, piece: bytes) -> bool:
        size = partial.size + len(piece)
        if size > partial.reserved:
            most = self.limit // _UNKNOWN_SHARE
            if size > most or not self._reserve(partial, size - partial.reserved):
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

    def _publish(
        self, key: Key, flight: _Flight, partial: _Partial, version: Version, checked: float
    ) -> Entry | _Verdict | None:
        """Let the file be found, unless somebody wrote to it since the fetch began."""
        store, old = self._store, partial.name
        told = {"remote": key[0], "path": key[1], "version": version.key}
        attribute = json.dumps(told).encode()
        name = f"{_FILES}/{old.rpartition('/')[2]}"
        if self._kept and not self._make(lambda: store.setxattr(old, _ATTRIBUTE, attribute), 0):
            return None
        with self._lock:
            if self._flights.get(key) is not flight:
                return _Verdict.AGAIN
            if not self._make(lambda: store.rename(old, name), 0):
                return None
            # What was reserved is the entry's now.
            partial.reserved = 0
            entry = Entry(key, name, version.key, partial.size, checked)
            replaced = self._index.add(entry)
            if replaced is not None:
                self._remove(replaced)
        return entry

    def _discard(self, partial: _Partial) -> None:
        """Leave nothing of a file that was not published."""
        with self._lock:
            with suppress(FileNotFoundError):
                self._store.remove(partial.name)
            self._used -= partial.reserved
            partial.reserved = 0

    # ---- room

    def _reserve(self, partial: _Partial, size: int) -> bool:
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

    # ---- dropping

    def drop(self, key: Key) -> None:
        """Forget a file; a fetch that is under way is seen by nobody who asks from now on."""
        with self._lock:
            self._drop(key)

    def drop_all(self, wanted: Callable[[Key], bool]) -> None:
        """Forget the files that are wanted; O(files)."""
        with self._lock:
            for key in [*self._index.select(wanted), *filter(wanted, list(self._flights))]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        self._flights.pop(key, None)
        if self._store.closed:
            # At the exit of the interpreter files are closed after that.
            return
        entry = self._index.remove(key)
        if entry is not None:
            self._remove(entry)

    def _drop_damaged(self, entry: Entry) -> None:
        with self._lock:
            self._counts.damaged += 1
            if self._index.get(entry.key) is entry:
                self._drop(entry.key)

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
        for directory in (_FILES, _FETCHING):
            self._store.mkdir(directory, parents=True, exist_ok=True)
        for entry in list(self._store.scandir(_FETCHING)):
            self._store.remove(entry.path)
        found = sorted(self._store.listdir(_FILES), key=int)
        for name in found:
            self._take_back(f"{_FILES}/{name}")
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
