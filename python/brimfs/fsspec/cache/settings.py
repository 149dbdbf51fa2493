"""The caches of the process, and what they were made with.

A cache belongs to the process, not to an instance: fsspec makes one of those for each thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from brimfs import Budget
from brimfs.fsspec.cache.files import Cache
from brimfs.fsspec.locks import ForkedLock

MEMORY_LIMIT = 256 << 20
DISK_LIMIT = 4 << 30


@dataclass(frozen=True)
class Settings:
    """What decides whether two filesystems share a cache; sizes in bytes."""

    store: str | None
    memory_limit: int
    disk_limit: int
    limit: int
    spill_dir: str | Literal[False] | None

    @cached_property
    def place(self) -> str:
        """One cache for each: its directory, or all that it was made with."""
        return self.store or repr(self)

    def make(self) -> Cache:
        options: dict[str, Any] = {
            "memory_limit": self.memory_limit,
            "disk_limit": self.disk_limit,
        }
        if self.spill_dir is not None:
            options["spill_dir"] = self.spill_dir
        if self.spill_dir is False:
            del options["disk_limit"]
        return Cache(self.store, self.limit, options)


def settings(
    *,
    store: str | os.PathLike[str] | None,
    memory_limit: int | str | None,
    disk_limit: int | str | None,
    limit: int | str | None,
    spill_dir: str | os.PathLike[str] | Literal[False] | None,
) -> Settings:
    """What was asked for, with what was left out."""
    memory = _size("memory_limit", memory_limit, MEMORY_LIMIT)
    disk = _size("disk_limit", disk_limit, DISK_LIMIT)
    if store is not None and spill_dir is not None:
        raise ValueError("a cache with a store spills into it: leave spill_dir out")
    if spill_dir is False and disk_limit is not None:
        raise ValueError("spill_dir=False forbids the disk that disk_limit is about")
    # Half of the disk stays free for what was dropped and is not compacted yet, half of the memory
    # for names and buffers.
    held = disk // 2 if store is not None else memory // 2
    if store is None and spill_dir is not False:
        held += disk // 2
    return Settings(
        store=None if store is None else os.path.realpath(os.fspath(store)),
        memory_limit=memory,
        disk_limit=disk,
        limit=_size("limit", limit, held),
        spill_dir=spill_dir if spill_dir is False or spill_dir is None else os.fspath(spill_dir),
    )


def _size(name: str, given: int | str | None, default: int) -> int:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        raise TypeError(f"{name} is a number of bytes or text such as '512MiB', not {given!r}")
    size = Budget(given).limit
    if size == 0:
        raise ValueError(f"{name} of nothing: there would be no cache")
    return size


_caches: dict[str, tuple[Settings, Cache]] = {}
_lock = ForkedLock()


def find_or_make(wanted: Settings) -> Cache:
    """The cache of that place, which is opened when it is used for the first time."""
    place = wanted.place
    found = _caches.get(place)
    if found is None:
        with _lock:
            found = _caches.get(place)
            if found is None:
                found = _caches[place] = (wanted, wanted.make())
    if found[0] is not wanted and found[0] != wanted:
        raise ValueError(
            f"the cache in {wanted.store} is open with {found[0]}, and {wanted} was asked for; "
            "ask for the same, or close it first with close_cache()"
        )
    return found[1]


def close(wanted: Settings) -> None:
    """Close the cache of that place; the next use opens it again, if it has a store."""
    with _lock:
        found = _caches.pop(wanted.place, None)
    if found is not None:
        found[1].close()


def close_all() -> None:
    """Close every cache of the process."""
    with _lock:
        found = list(_caches.values())
        _caches.clear()
    for _, cache in found:
        cache.close()


if hasattr(os, "register_at_fork"):
    # The child's caches are its own: one that is kept in a directory is the parent's still, and
    # opening it says so.
    os.register_at_fork(after_in_child=_caches.clear)
