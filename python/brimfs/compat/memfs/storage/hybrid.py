"""The ledger of tiers: which file counts as in memory, and which goes when there are too many
bytes.

It counts content alone, to the byte, so that a limit of a few kilobytes is one. The bytes
themselves are the core's, which keeps them in memory or on the disk as its own limit wants it; a
file that left memory here is the first that the core lets go."""

from __future__ import annotations

import heapq
import itertools
import time

__all__ = ["ExternalModificationError", "Tiers"]

LOCKED = 9
"""Priorities from here on leave memory when somebody says so, or when nothing else is left."""
BOOSTED_MAX = 8
WEIGHTS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class ExternalModificationError(Exception):
    """Somebody else emptied a file of the persist directory that is in memory."""


class Entry:
    """What is known of one file."""

    __slots__ = (
        "access_count",
        "created_at",
        "host",
        "in_memory",
        "is_durable",
        "last_accessed",
        "path",
        "priority",
        "queued",
        "size",
        "version",
    )

    def __init__(self, path: str, size: int, priority: int) -> None:
        self.path = path
        self.size = size
        self.priority = priority
        self.access_count = 0
        self.created_at = self.last_accessed = time.time()
        self.in_memory = False
        # Whether the disk has these bytes, and what the host said of its file then: time and size.
        self.is_durable = False
        self.host: tuple[int, int] | None = None
        self.version = 0
        # The value with which it waits in the queue; what it is worth now may be more.
        self.queued: float | None = None

    @property
    def location(self) -> str:
        if not self.in_memory:
            return "real"
        return "both" if self.is_durable else "memory"

    def value(self) -> float:
        return WEIGHTS[self.priority] * (1 + self.access_count)


class Tiers:
    """All files, and the bytes that count as in memory. The caller holds the filesystem's lock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: dict[str, Entry] = {}
        self.used = self.peak = self.files = 0
        self.disk_bytes = self.disk_files = 0
        self.evictions = self.swaps_in = 0
        self._queue: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()

    # ------------------------------------------------------------------ what is there

    def add(self, path: str, size: int, priority: int) -> Entry:
        """A file that is on the disk only, so far as the ledger goes."""
        entry = self.entries[path] = Entry(path, size, priority)
        return entry

    def discard(self, path: str) -> None:
        entry = self.entries.pop(path, None)
        if entry is not None:
            self._leave(entry)
            self.set_durable(entry, False)
            entry.queued = None

    def resize(self, entry: Entry, size: int) -> None:
        """New content: it is not on the disk yet."""
        self.set_durable(entry, False)
        if entry.in_memory:
            self.used += size - entry.size
        entry.size = size
        entry.version += 1

    def set_durable(self, entry: Entry, is_durable: bool) -> None:
        if entry.is_durable != is_durable:
            entry.is_durable = is_durable
            sign = 1 if is_durable else -1
            self.disk_files += sign
            self.disk_bytes += sign * entry.size

    def reset_counters(self) -> None:
        self.peak = self.used
        self.evictions = self.swaps_in = 0

    # ------------------------------------------------------------------ in and out of memory

    def enter(self, entry: Entry) -> list[Entry]:
        """Counts a file as in memory if it fits, and returns what had to leave for it."""
        if not entry.in_memory and entry.size <= self.limit:
            entry.in_memory = True
            self.used += entry.size
            self.files += 1
        elif entry.in_memory and entry.size > self.limit:
            self._leave(entry)
        left = self._make_room(entry)
        if entry.in_memory:
            self._enqueue(entry)
        self.peak = max(self.peak, self.used)
        return left

    def touch(self, entry: Entry, boost_threshold: int) -> bool:
        """Counts an access. Returns whether the priority grew by it."""
        entry.access_count += 1
        entry.last_accessed = time.time()
        if entry.access_count > boost_threshold and entry.priority < BOOSTED_MAX:
            entry.priority += 1
            return True
        return False

    def prioritise(self, entry: Entry, priority: int) -> None:
        entry.priority = priority
        if entry.in_memory:
            # What became worth less has to be found by its new value.
            entry.queued = None
            self._enqueue(entry)

    def shrink(self, target: int) -> list[Entry]:
        """Takes the least valuable files out of memory down to so many bytes, locked ones last."""
        left = []
        if self.used > target:
            candidates = [entry for entry in self.entries.values() if entry.in_memory]
            candidates.sort(key=lambda e: (e.priority >= LOCKED, e.value(), e.last_accessed))
            for entry in candidates:
                if self.used <= target:
                    break
                # Empty files free nothing.
                if entry.size:
                    self._evict(entry)
                    left.append(entry)
        return left

    def _make_room(self, new: Entry) -> list[Entry]:
        left = []
        while self.used > self.limit:
            entry = self._least(new)
            if entry is None:
                # All else is locked: the newcomer goes, unless it is locked as well.
                entry = new if new.in_memory and new.priority < LOCKED else self._least_locked(new)
            self._evict(entry)
            left.append(entry)
        return left

    def _evict(self, entry: Entry) -> None:
        self._leave(entry)
        self.evictions += 1

    def _leave(self, entry: Entry) -> None:
        if entry.in_memory:
            entry.in_memory = False
            self.used -= entry.size
            self.files -= 1

    def _enqueue(self, entry: Entry) -> None:
        if entry.priority < LOCKED and entry.queued is None:
            entry.queued = entry.value()
            heapq.heappush(self._queue, (entry.queued, next(self._order), entry))

    def _least(self, new: Entry) -> Entry | None:
        """The unlocked file in memory that is worth least, other than `new`."""
        queue = self._queue
        skipped = False
        found = None
        while queue:
            queued, _, entry = heapq.heappop(queue)
            if entry.queued != queued:
                continue
            entry.queued = None
            if entry is new:
                skipped = True
                continue
            if not entry.in_memory or entry.priority >= LOCKED or not entry.size:
                continue
            if entry.value() > queued:
                # It was read since it was queued.
                self._enqueue(entry)
                continue
            found = entry
            break
        if skipped:
            self._enqueue(new)
        return found

    def _least_locked(self, new: Entry) -> Entry:
        locked = [e for e in self.entries.values() if e.in_memory and e.size and e is not new]
        return min(locked or [new], key=Entry.value)
