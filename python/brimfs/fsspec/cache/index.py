"""Which files a cache holds, and which of them is worth least.

Knows neither content nor filesystems. Whoever calls holds the lock of the cache, but for `get` and
`touch`.

A file is worth what it costs to fetch again for each byte that it takes, times how often it was
read. There are two greedy-dual queues, as in the policy of `brimfs` itself: on probation is what
was read once, in main what was read again, or is fetched again soon after it went. Within a queue
the least goes, and leaves its rank behind as the level at which others enter, so that worth ages.
Probation gives as long as it has more than its share: a scan pushes out nothing that is in use.
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

_SHARE = 0.25
"""What probation may keep of the bytes."""
_STALE = 64
"""Places for files that are gone, at least."""


class Entry:
    """A file that the cache holds: complete, and never changed."""

    __slots__ = ("checked", "key", "name", "proven", "rank", "reads", "size", "version")

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
        self.proven = False
        """Whether it is in main."""
        self.rank = 0.0

    def worth(self) -> float:
        return self.reads * (_REQUEST + self.size) / max(self.size, 1)


class _Queue:
    """Files in the order in which they go; those that are gone already are found at their turn."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._turns = itertools.count()
        self.level = 0.0
        self.bytes = 0
        """Of the files that are not gone."""

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, entry: Entry) -> None:
        heapq.heappush(self._heap, (entry.rank, next(self._turns), entry))

    def pop(self) -> tuple[float, Entry]:
        rank, _, entry = heapq.heappop(self._heap)
        return rank, entry

    def keep(self, wanted: Callable[[Entry], bool]) -> None:
        self._heap = [each for each in self._heap if wanted(each[2])]
        heapq.heapify(self._heap)


class Index:
    """The files of a cache by their keys, and in the order in which they go."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._probation = _Queue()
        self._main = _Queue()
        self._remembered: dict[Key, int] = {}
        """How often files were read that went, the latest last."""

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
        entry.reads = min(entry.reads + self._remembered.pop(entry.key, 0), MOST_READS)
        entry.proven = entry.reads > 1
        self._enter(entry)
        return replaced

    def touch(self, entry: Entry) -> None:
        """Count a read. Its place in the queue is put right when its turn comes."""
        if entry.reads < MOST_READS:
            entry.reads += 1
        entry.rank = self._queue(entry).level + entry.worth()

    def remove(self, key: Key) -> Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._queue(entry).bytes -= entry.size
        if len(self._probation) + len(self._main) > 2 * len(self._entries) + _STALE:
            self._probation.keep(self._holds)
            self._main.keep(self._holds)
        return entry

    def select(self, wanted: Callable[[Key], bool]) -> list[Key]:
        """The keys that are wanted; O(files)."""
        return [key for key in self._entries if wanted(key)]

    def pop_least(self) -> Entry | None:
        """Take the file out that is worth least."""
        while self._entries:
            queue = self._next_queue()
            rank, entry = queue.pop()
            if not self._holds(entry):
                continue
            if entry.rank > rank:
                # It was read since it entered.
                queue.bytes -= entry.size
                entry.proven = True
                self._enter(entry)
                continue
            queue.level = max(queue.level, rank)
            self.remove(entry.key)
            self._remember(entry)
            return entry
        return None

    def _enter(self, entry: Entry) -> None:
        queue = self._queue(entry)
        entry.rank = queue.level + entry.worth()
        queue.bytes += entry.size
        queue.push(entry)

    def _queue(self, entry: Entry) -> _Queue:
        return self._main if entry.proven else self._probation

    def _next_queue(self) -> _Queue:
        young, old = self._probation, self._main
        if not old or (young and young.bytes > _SHARE * (young.bytes + old.bytes)):
            return young
        return old

    def _remember(self, entry: Entry) -> None:
        self._remembered[entry.key] = entry.reads
        while len(self._remembered) > max(len(self._entries), _STALE):
            del self._remembered[next(iter(self._remembered))]

    def _holds(self, entry: Entry) -> bool:
        return self._entries.get(entry.key) is entry
