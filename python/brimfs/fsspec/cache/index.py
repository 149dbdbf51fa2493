"""Which files a cache holds, and which of them is worth least.

Knows neither content nor filesystems. Whoever calls holds the lock of the cache, but for `get` and
`touch`.

The order is greedy-dual: a file is worth what it costs to fetch again for each byte that it takes,
times how often it was read, on top of the level that the last one to go left behind. What nobody
reads any more is passed by the level, whatever it was worth; a file that is read once in a scan
pushes out nothing that is read again and again.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator

Key = tuple[str, str]
"""The identity of a remote filesystem, and a path there."""

_REQUEST = 1 << 20
"""Bytes that arrive in the time that a request takes: what a fetch costs besides its bytes."""
MOST_READS = 15
"""Reads that count, so that what was read often long ago goes too."""


class Entry:
    """A file that the cache holds: complete, and never changed."""

    __slots__ = ("checked", "key", "name", "rank", "reads", "size", "version")

    def __init__(
        self, key: Key, name: str, version: str, size: int, checked: float, reads: int = 1
    ) -> None:
        self.key = key
        self.name = name
        """Its path in the cache's own filesystem; no other file ever has it."""
        self.version = version
        self.size = size
        self.checked = checked
        """When the remote last had this version."""
        self.reads = min(reads, MOST_READS)
        self.rank = 0.0

    def worth(self) -> float:
        return self.reads * (_REQUEST + self.size) / max(self.size, 1)


class Index:
    """The files of a cache by their keys, and in the order in which they go."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._queue: list[tuple[float, int, Entry]] = []
        self._turns = itertools.count()
        self._level = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, key: Key) -> Entry | None:
        return self._entries.get(key)

    def add(self, entry: Entry) -> Entry | None:
        """Take a new file in; the one that had its key is given back."""
        replaced = self.remove(entry.key)
        self._entries[entry.key] = entry
        entry.rank = self._level + entry.worth()
        self._push(entry)
        return replaced

    def touch(self, entry: Entry) -> None:
        """Count a read. Its place in the queue is put right when its turn comes."""
        if entry.reads < MOST_READS:
            entry.reads += 1
        entry.rank = self._level + entry.worth()

    def remove(self, key: Key) -> Entry | None:
        entry = self._entries.pop(key, None)
        if len(self._queue) > 2 * len(self._entries) + 64:
            self._queue = [each for each in self._queue if self._holds(each[2])]
            heapq.heapify(self._queue)
        return entry

    def select(self, wanted: Callable[[Key], bool]) -> list[Key]:
        """The keys that are wanted; O(files)."""
        return [key for key in self._entries if wanted(key)]

    def pop_least(self) -> Entry | None:
        """Take the file out that is worth least."""
        while self._queue:
            rank, _, entry = heapq.heappop(self._queue)
            if not self._holds(entry):
                continue
            if entry.rank > rank:
                self._push(entry)
                continue
            del self._entries[entry.key]
            self._level = max(self._level, rank)
            return entry
        return None

    def _push(self, entry: Entry) -> None:
        heapq.heappush(self._queue, (entry.rank, next(self._turns), entry))

    def _holds(self, entry: Entry) -> bool:
        return self._entries.get(entry.key) is entry
