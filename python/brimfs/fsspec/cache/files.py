"""How files come into a cache: once for all who ask, whole, and as the remote has them.

What is fetched is compared with what the remote says of the file before and after. Whoever asks
while another one fetches the same file waits for that fetch; a write takes the fetch out of their
sight, and what it brings is thrown away.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from enum import Enum
from typing import Any, Protocol, TypeVar

from brimfs import FileSystem
from brimfs.fsspec.cache.holding import Holding, Partial
from brimfs.fsspec.cache.index import Entry, Key
from brimfs.fsspec.cache.remote import Version

T = TypeVar("T")

_ATTEMPTS = 5
"""How often a file is fetched that changes meanwhile."""
_UNKNOWN_SHARE = 8
"""A file of unknown size is held if it takes no more than this part of the limit."""
_TOO_LARGE_MOST = 1024
"""How many of those are remembered that turned out to be larger."""


class Fetched(Protocol):
    """Where a file comes from."""

    path: str

    def version(self) -> Version: ...

    def pieces(self, size: int | None) -> Iterator[bytes]: ...


class _Verdict(Enum):
    AGAIN = "somebody wrote to the file, or the fetch was interrupted"


_Flight = Future[Entry | _Verdict | None]


class Cache(Holding):
    """A cache for any number of remote filesystems."""

    def __init__(self, store: str | None, limit: int, options: dict[str, Any]) -> None:
        super().__init__(store, limit, options)
        self._flights: dict[Key, _Flight] = {}
        self._too_large: dict[tuple[Key, str], None] = {}

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
                    self.drop_damaged(key)
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
            if isinstance(found, _Verdict):
                continue
            if found is None or leads or found.version == version.key:
                return found, False
            # It changed between the last look of whoever fetched it and this one.
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
            partial = self._begin()
            try:
                if not self._fill(key, partial, source, version):
                    return None
                checked = time.monotonic()
                now = source.version()
                if now == version and version.size in (None, partial.size):
                    with self._lock:
                        self._counts.fetches += 1
                        self._counts.fetched += partial.size
                        # Somebody may have written to it since the fetch began.
                        if self._flights.get(key) is not flight:
                            return _Verdict.AGAIN
                        return self._keep(key, partial, version.key, checked)
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

    def _fill(self, key: Key, partial: Partial, source: Fetched, version: Version) -> bool:
        """Bring the content in; False where there is no room for it."""
        if (key, version.key) in self._too_large:
            return False
        if version.size is not None and not self._reserve(partial, version.size):
            return False
        for piece in source.pieces(version.size):
            size = partial.size + len(piece)
            if version.size is not None and size > version.size:
                # It grew meanwhile. That it is not what was asked for is seen by its size.
                partial.size = size
                return True
            if version.size is None and size > self.limit // _UNKNOWN_SHARE:
                self._remember_as_too_large(key, version)
                return False
            if not self._put(partial, piece):
                return False
        # An empty file has no pieces.
        return partial.size > 0 or self._put(partial, b"")

    def _remember_as_too_large(self, key: Key, version: Version) -> None:
        """Else each read would bring it in as far as it fits, and others would go for that."""
        with self._lock:
            self._too_large[key, version.key] = None
            if len(self._too_large) > _TOO_LARGE_MOST:
                del self._too_large[next(iter(self._too_large))]

    # ---- dropping

    def drop(self, key: Key) -> None:
        """Forget a file; a fetch that is under way is seen by nobody who asks from now on."""
        with self._lock:
            dropped = self._drop(key)
        self._settle(dropped)

    def drop_all(self, wanted: Callable[[Key], bool]) -> None:
        """Forget the files that are wanted; O(files)."""
        with self._lock:
            keys = [*self._index.select(wanted), *filter(wanted, list(self._flights))]
            dropped = [key for key in keys if self._drop(key)]
        self._settle(bool(dropped))

    def _settle(self, dropped: bool) -> None:
        # What was dropped must not be there again after a crash: nobody may ask about it then.
        if dropped and self._kept:
            self._store.sync()

    def _drop(self, key: Key) -> bool:
        self._flights.pop(key, None)
        if self._store.closed:
            # At the exit of the interpreter files are closed after that.
            return False
        entry = self._index.remove(key)
        if entry is not None:
            self._remove(entry)
        return entry is not None

    def drop_damaged(self, key: Key) -> None:
        """Forget a file that cannot be read back: the next read fetches it again."""
        with self._lock:
            self._counts.damaged += 1
            self._drop(key)
