"""What `brimcache::` holds, and what goes for it."""

from __future__ import annotations

import errno

import pytest

from brimfs.fsspec.cache import index
from cache_calls import KIB, MIB, cached, content, held, within_limits
from counted_remote import Counted

pytestmark = pytest.mark.usefixtures("no_caches")


def test_what_is_worth_least_goes(remote):
    fs = cached(remote, limit=100 * KIB)
    for number in range(300):
        path = f"{number % 30}" if number % 3 else "hot"
        if path not in remote.files:
            remote.put_content(path, content(number, 10 * KIB))
        assert fs.cat_file(path) == remote.content(path)
        within_limits(fs)
    stats = fs.cache_stats()
    assert stats.evictions == stats.fetches - stats.files > 0
    assert stats.evicted == stats.evictions * 10 * KIB
    assert stats.hits >= 99
    # Once, however many others came and went.
    fs.cat_file("hot")
    assert fs.cache_stats().hits == stats.hits + 1
    assert len(held(fs)) == 10


def test_a_scan_does_not_push_out_what_is_read_again(remote):
    fs = cached(remote, limit=100 * KIB)
    for number in range(5):
        remote.put_content(f"hot{number}", content(number, 10 * KIB))
        for _ in range(3):
            fs.cat_file(f"hot{number}")
    for number in range(20):
        remote.put_content(f"scan{number}", content(number, 10 * KIB))
        fs.cat_file(f"scan{number}")
    assert {f"hot{number}" for number in range(5)} <= held(fs).keys()


def test_a_new_file_stays_for_a_while(remote):
    """Though all others were read again."""
    fs = cached(remote, limit=100 * KIB)
    for path in [*"abcdefghij"] * 2:
        remote.files.get(path) or remote.put_content(path, content(0, 10 * KIB))
        fs.cat_file(path)
    for path in "xy":
        remote.put_content(path, content(1, 10 * KIB))
        fs.cat_file(path)
    assert {"x", "y"} <= held(fs).keys()


def test_what_was_hot_once_gives_way_to_what_is_hot_now(remote):
    fs = cached(remote, limit=100 * KIB)
    for number in range(10):
        remote.put_content(f"old{number}", content(number, 10 * KIB))
        for _ in range(100):
            fs.cat_file(f"old{number}")
    new = [f"new{number}" for number in range(8)]
    for turn in range(60):
        for number, path in enumerate(new):
            if turn == 0:
                remote.put_content(path, content(number, 10 * KIB))
            fs.cat_file(path)
    assert set(new) <= held(fs).keys()


def test_large_files_go_before_small_ones(remote):
    fs = cached(remote, limit=4 * MIB)
    small = [f"{number}" for number in range(100)]
    for path in [*small[:50], "large", *small[50:]]:
        remote.put_content(path, content(0, 3 * MIB if path == "large" else 20 * KIB))
        fs.cat_file(path)
    assert sorted(held(fs)) == sorted(small)


def test_what_was_read_often_long_ago_goes_in_the_end_though_it_is_small(remote):
    fs = cached(remote, limit=4 * MIB)
    for number in range(200):
        remote.put_content(f"{number}", content(number, 20 * KIB))
        for _ in range(20):
            fs.cat_file(f"{number}")
    for _ in range(200):
        for path in ("A", "B"):
            path in remote.files or remote.put_content(path, content(0, 3 * MIB // 2))
            fs.cat_file(path)
    assert {"A", "B"} <= held(fs).keys()


def test_the_order_is_kept_with_few_places():
    queue = index.Index()
    for number in range(1000):
        entry = index.Entry(("r", "a"), str(number), "v", 10, 0.0)
        replaced = queue.add(entry)
        assert (replaced is None) == (number == 0)
        queue.touch(entry)
    assert len(queue._probation) + len(queue._main) <= 2 * len(queue) + 64
    assert queue.pop_least() is entry
    assert queue.pop_least() is None


@pytest.mark.parametrize("sized", [True, False])
def test_a_file_larger_than_the_cache_is_passed_through(pieces, sized):
    remote = Counted(sized=sized)
    fs = cached(remote, limit=100 * KIB)
    remote.put_content("small", content(0, KIB))
    remote.put_content("large", content(1, 100 * KIB + 1))
    assert fs.cat_file("small") == content(0, KIB)
    for _ in range(2):
        assert fs.cat_file("large") == content(1, 100 * KIB + 1)
        assert fs.cat_file("large", 5, 10) == content(1, 100)[5:10]
        assert fs.cat_ranges(["large"], 5, 10) == [content(1, 100)[5:10]]
        with fs.open("large") as file:
            assert file.read(100) == content(1, 100)
        within_limits(fs)
    stats = fs.cache_stats()
    assert (stats.passed, stats.evictions) == (8, 0)
    assert held(fs) == {"small": KIB}


def test_a_file_of_the_size_of_the_cache_is_held(remote):
    fs = cached(remote, limit=100 * KIB)
    remote.put_content("small", content(0, KIB))
    remote.put_content("large", content(1, 100 * KIB))
    for path in ("small", "large"):
        assert fs.cat_file(path) == remote.content(path)
    assert held(fs) == {"large": 100 * KIB}


def test_a_file_of_unknown_size_takes_an_eighth_at_most(pieces):
    remote = Counted(sized=False)
    fs = cached(remote, limit=80 * KIB)
    for size in (10 * KIB, 10 * KIB + 1):
        remote.put_content(f"{size}", content(size, size))
        assert fs.cat_file(f"{size}") == content(size, size)
    assert held(fs) == {f"{10 * KIB}": 10 * KIB}


def test_a_file_that_turned_out_to_be_too_large_pushes_out_nothing_again(pieces):
    remote = Counted(sized=False)
    fs = cached(remote, limit=80 * KIB)
    remote.put_content("large", content(0, 100 * KIB))
    for number in range(8):
        remote.put_content(f"{number}", content(number, 10 * KIB))
    for path in [*remote.files] * 5:
        assert fs.cat_file(path) == remote.content(path)
    stats = fs.cache_stats()
    assert (stats.passed, stats.evictions, stats.fetches) == (5, 0, 8)
    remote.put_content("large", content(1, 10))
    assert fs.cat_file("large") == content(1, 10)
    assert fs.cache_stats().passed == 5


def test_open_files_outlive_their_eviction(remote):
    """They take room until they are closed, and others are passed through meanwhile."""
    fs = cached(remote, limit=100 * KIB)
    for number in range(40):
        remote.put_content(f"{number}", content(number, 10 * KIB))
    files = [fs.open(f"{number}") for number in range(20)]
    within_limits(fs)
    assert fs.cache_stats().passed > 0
    for number, file in enumerate(files):
        assert file.read() == content(number, 10 * KIB)
        file.close()
    for number in range(20, 40):
        assert fs.cat_file(f"{number}") == content(number, 10 * KIB)
        within_limits(fs)
    assert len(held(fs)) == 10


class Full:
    """A filesystem whose disk is full half way through a write, once."""

    def __init__(self, store):
        self._store = store
        self._full = True

    def append_bytes(self, path, data):
        if self._full:
            self._full = False
            self._store.append_bytes(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "full", path)
        return self._store.append_bytes(path, data)

    def __getattr__(self, name):
        return getattr(self._store, name)


@pytest.mark.parametrize("others", [0, 1])
def test_a_disk_that_is_full_half_way(remote, pieces, others):
    """Others go, and it is tried again; if nothing can go the file is passed through."""
    fs = cached(remote)
    for number in range(others):
        remote.put_content(f"{number}", content(number, 10 * KIB))
        fs.cat_file(f"{number}")
    remote.put_content("a", content(9, 5000))
    files = fs._files
    files._store = Full(files._store)
    assert fs.open("a").read() == content(9, 5000)
    stats = fs.cache_stats()
    assert (stats.evictions, stats.passed) == (others, 1 - others)
    assert held(fs) == ({"a": 5000} if others else {})


def test_a_disk_that_fails_is_an_error_and_leaves_nothing(remote, pieces):
    fs = cached(remote)
    remote.put_content("a", content(9, 5000))

    def fails(path, data):
        raise OSError(errno.EIO, "broken", path)

    files = fs._files
    files._store = Full(files._store)
    files._store.append_bytes = fails
    with pytest.raises(OSError, match="broken"):
        fs.cat_file("a")
    del files._store.append_bytes
    files._store._full = False
    assert held(fs) == {}
    assert fs.open("a").read() == content(9, 5000)


def test_more_than_memory_holds(remote, tmp_path):
    fs = cached(
        remote, memory_limit=8 * MIB, disk_limit=128 * MIB, limit=32 * MIB, spill_dir=tmp_path
    )
    for number in range(60):
        remote.put_content(f"{number}", content(number % 7, MIB))
        assert fs.cat_file(f"{number}") == content(number % 7, MIB)
        within_limits(fs)
    stats = fs.cache_stats()
    assert stats.disk_used > 0
    assert len(held(fs)) == stats.files == 32
    for path in held(fs):
        assert fs.cat_file(path) == remote.content(path)
    assert fs.cache_stats().fetches == 60
    within_limits(fs)


def test_more_names_than_memory_holds_are_not_an_error(remote):
    fs = cached(remote, memory_limit=MIB, spill_dir=False)
    for number in range(8000):
        remote.put_content(f"{number}", b"%d" % number)
        assert fs.cat_file(f"{number}") == b"%d" % number
    within_limits(fs)
    stats = fs.cache_stats()
    assert stats.evictions > 0
    # While a table of names has to grow, and finds no memory.
    assert stats.passed < 100
    assert len(held(fs)) > 4000
