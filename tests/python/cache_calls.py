"""What the tests of `brimcache::` share."""

from __future__ import annotations

import random

from brimfs.fsspec.cache import BrimCacheFileSystem
from brimfs.fsspec.cache.holding import FETCHING, FILES

KIB = 1 << 10
MIB = 1 << 20


def cached(remote, limit=MIB, **options):
    """A cache in front of that filesystem; those with the same options are one."""
    options = {"memory_limit": 16 * MIB, "limit": limit, **options}
    return BrimCacheFileSystem(fs=remote, skip_instance_cache=True, **options)


def content(number, size):
    return random.Random(number).randbytes(size)


def held(fs):
    """What the cache holds, by its own word and by that of its filesystem, which must agree."""
    cache = fs._files
    store, stats = cache._store, cache.stats()
    assert store.listdir(FETCHING) == []
    entries = list(cache._index)
    assert sorted(entry.name for entry in entries) == sorted(
        f"{FILES}/{name}" for name in store.listdir(FILES)
    )
    for entry in entries:
        assert store.stat(entry.name).st_size == entry.size
    assert cache._flights == {}
    assert stats.files == len(entries)
    assert stats.bytes == sum(entry.size for entry in entries)
    return {entry.key[1]: entry.size for entry in entries}


def within_limits(fs):
    """No limit is passed, by the word of the filesystem that the files are in."""
    stats, store = fs.cache_stats(), fs._files._store.stats()
    assert stats.bytes <= stats.limit
    assert store.quota_used <= stats.limit
    assert store.resident_peak <= stats.memory_limit
    assert stats.disk_limit is None or stats.disk_used <= stats.disk_limit
