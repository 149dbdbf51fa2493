"""`brimcache::`: what is fetched, kept, dropped and told, call by call."""

from __future__ import annotations

import errno
import io
import os
import pickle
import random
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.spec import AbstractBufferedFile

import brimfs.fsspec.cache
from brimfs.fsspec.cache import BrimCacheFileSystem, index
from cache_calls import held, within_limits
from counted_remote import PIECE, Counted

KIB = 1 << 10
MIB = 1 << 20


@pytest.fixture(autouse=True)
def no_caches():
    brimfs.fsspec.cache.close_all()
    yield
    brimfs.fsspec.cache.close_all()


@pytest.fixture
def pieces(monkeypatch):
    monkeypatch.setattr("brimfs.fsspec.cache.remote.PIECE", PIECE)


@pytest.fixture
def remote():
    return Counted()


def cached(remote, limit=MIB, **options):
    options = {"memory_limit": 16 * MIB, "limit": limit, **options}
    return BrimCacheFileSystem(fs=remote, skip_instance_cache=True, **options)


def content(number, size):
    return random.Random(number).randbytes(size)


# reading


def test_a_file_is_fetched_once(remote):
    fs = cached(remote)
    data = content(0, 5000)
    remote.put_content("d/a", data)
    for _ in range(3):
        assert fs.cat_file("d/a") == fs.cat("d/a") == fs.read_bytes("counted://d/a") == data
        assert fs.cat("brimcache://d/a") == data
        with fs.open("brimcache::counted://d/a") as file:
            assert (file.read(10), file.tell(), file.size) == (data[:10], 10, 5000)
            assert (file.path, file.mode, file.original) == ("d/a", "rb", "d/a")
            assert file.full_name == "brimcache://d/a"
            assert file.info()["ETag"] == 0
    assert remote.calls["cat"] == 1
    stats = fs.cache_stats()
    assert (stats.hits, stats.misses, stats.fetches, stats.fetched) == (14, 1, 1, 5000)
    assert held(fs) == {"d/a": 5000}


def test_what_was_fetched_whole_is_handed_out_without_a_copy(remote):
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))
    assert fs.cat_file("a") is fs.cat_file("a")


@pytest.mark.parametrize(
    ("start", "end"), [(0, 3), (2, None), (None, 4), (-3, None), (None, -3), (-5, -2), (8, 99)]
)
def test_parts_are_what_slices_are(remote, start, end):
    fs = cached(remote)
    remote.put_content("a", b"0123456789")
    assert fs.cat_file("a", start, end) == b"0123456789"[start:end]
    assert fs.cat_ranges(["a"], start, end) == [b"0123456789"[start:end]]
    assert remote.calls["cat"] == 1


def test_many_ranges_are_of_one_version(remote):
    fs = cached(remote)
    remote.put_content("a", b"0123456789")
    remote.put_content("b", b"abcdefghij")
    found = fs.cat_ranges(["a", "b", "counted://a", "none"], [0, 2, -2, 0], [2, 4, None, 1])
    assert found[:3] == [b"01", b"cd", b"89"]
    assert isinstance(found[3], FileNotFoundError)
    # The version is asked for once for each file, and again after the fetch.
    assert remote.calls["info"] == 2 + 2 + 1
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["none"], 0, 1, on_error="raise")
    with pytest.raises(TypeError):
        fs.cat_ranges("a", 0, 1)
    with pytest.raises(ValueError):
        fs.cat_ranges(["a"], [0, 1], 1)


@pytest.mark.parametrize("wrap", [lambda remote: remote, AsyncFileSystemWrapper])
def test_many_files_at_once(remote, wrap):
    fs = cached(wrap(remote))
    for number in range(20):
        remote.put_content(f"d/{number:02}", content(number, 100))
    expected = {f"d/{number:02}": content(number, 100) for number in range(20)}
    assert fs.cat("d/*") == fs.cat("d", recursive=True) == fs.cat(list(expected)) == expected
    assert remote.calls["cat"] == 20
    assert fs.cat_ranges(list(expected), 0, 10) == [each[:10] for each in expected.values()]
    remote.put_content("d/e/f", b"deep")
    assert fs.cat("d", recursive=True, maxdepth=1) == expected
    assert fs.cat("d", recursive=True)["d/e/f"] == b"deep"
    del remote.files["d/e/f"]
    del remote.files["d/07"]
    paths = ["d/06", "d/07"]
    assert fs.cat(paths, on_error="omit") == {"d/06": expected["d/06"]}
    assert isinstance(fs.cat(paths, on_error="return")["d/07"], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat(paths)
    assert len(held(fs)) == 19 + 1


def test_an_async_remote(remote, pieces):
    fs = cached(AsyncFileSystemWrapper(remote))
    remote.put_content("d/a", content(0, 5000))
    assert fs.cat("d/a") == fs.open("d/a").read() == content(0, 5000)
    fs.pipe("d/a", b"new")
    assert fs.cat("d/a") == b"new"
    assert fs.find("d") == ["d/a"]
    with pytest.raises(ValueError, match="asynchronous"):
        cached(AsyncFileSystemWrapper(remote, asynchronous=True))


def test_get_head_tail_and_blocks(remote, tmp_path):
    fs = cached(remote)
    remote.put_content("d/a", b"one\ntwo\nthree\n")
    remote.put_content("d/e/b", b"b")
    fs.get("d/", str(tmp_path / "copy"), recursive=True)
    assert (tmp_path / "copy/a").read_bytes() == b"one\ntwo\nthree\n"
    assert (tmp_path / "copy/e/b").read_bytes() == b"b"
    target = io.BytesIO()
    fs.get_file("d/a", target)
    assert target.getvalue() == b"one\ntwo\nthree\n"
    assert fs.head("d/a", 3) == b"one"
    assert fs.tail("d/a", 6) == b"three\n"
    assert fs.read_block("d/a", 2, 4, b"\n") == b"two\n"
    assert fs.read_text("d/a").splitlines() == ["one", "two", "three"]
    assert remote.calls["cat"] == 2


def test_names_are_the_remotes(remote):
    fs = cached(remote)
    remote.put_content("d/a", b"a")
    remote.put_content("d/e/b", b"bb")
    assert fs.ls("brimcache::counted://d", detail=False) == ["d/a", "d/e"]
    assert fs.glob("d/**") == ["d", "d/a", "d/e", "d/e/b"]
    assert fs.find("d") == ["d/a", "d/e/b"]
    assert list(fs.walk("d")) == [("d", ["e"], ["a"]), ("d/e", [], ["b"])]
    assert fs.info("d/a") == remote.info("d/a")
    assert (fs.size("d/e/b"), fs.sizes(["d/a"]), fs.du("d")) == (2, [1], 3)
    assert fs.exists("d/a")
    assert fs.isfile("d/a")
    assert fs.isdir("d")
    assert not fs.exists("none")
    assert fs.ukey("d/a") == ""
    assert fs.unstrip_protocol("d/a") == "brimcache://d/a"
    assert held(fs) == {}
    with pytest.raises(IsADirectoryError):
        fs.cat_file("d")
    with pytest.raises(FileNotFoundError):
        fs.open("none")
    mapper = fs.get_mapper("d")
    assert mapper["e/b"] == b"bb"
    mapper["c"] = b"c"
    assert mapper.getitems(["a", "c"]) == {"a": b"a", "c": b"c"}


def test_text_and_compression(remote):
    fs = cached(remote)
    with fs.open("a.gz", "w", compression="infer", encoding="utf-16") as file:
        file.write("ä\n")
    for _ in range(2):
        with fs.open("a.gz", "r", compression="infer", encoding="utf-16") as file:
            assert list(file) == ["ä\n"]
    assert remote.calls["cat"] == 1


def test_a_chain_goes_on_behind_and_before(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner.txt", "text")
    options = {"memory_limit": 16 * MIB}
    for url in (f"zip://inner.txt::brimcache::file://{tmp_path}/a.zip",
                f"brimcache::zip://inner.txt::file://{tmp_path}/a.zip"):  # fmt: skip
        for _ in range(2):
            with fsspec.open(url, "r", brimcache=options) as file:
                assert file.read() == "text"
    fs, _ = fsspec.url_to_fs(f"brimcache::file://{tmp_path}/a.zip", brimcache=options)
    assert sorted(os.path.basename(path) for path in held(fs)) == ["a.zip", "inner.txt"]


def test_an_option_of_the_remote_alone_is_read_past_the_cache(remote):
    fs = cached(remote)
    remote.put_content("a", b"a")
    assert fs.cat_file("a", version_id="1") == b"a"
    assert fs.open("a", version_id="1").read() == b"a"
    assert fs.cat_ranges(["a"], 0, 1, version_id="1") == [b"a"]
    assert held(fs) == {}
    assert fs.open("a", cache_type="none").read() == b"a"
    assert held(fs) == {"a": 1}


def test_files_with_a_cache_of_their_own_are_asked_for_each_byte_once():
    data = content(0, 9 * MIB + 5)
    asked = []

    class Buffered(Counted):
        def _open(self, path, mode="rb", block_size=None, **kwargs):
            return BufferedFile(self, path, mode, 1 << 16, size=len(data))

    class BufferedFile(AbstractBufferedFile):
        def _fetch_range(self, start, end):
            asked.append((start, end))
            return data[start:end]

    remote = Buffered()
    remote.put_content("a", data)
    fs = cached(remote, limit=16 * MIB)
    assert fs.cat_file("a") == data
    assert asked == [(0, 4 * MIB), (4 * MIB, 8 * MIB), (8 * MIB, 9 * MIB + 5)]


# validation


@pytest.mark.parametrize(
    "remote", [Counted(), Counted(tells="LastModified"), Counted(tells=None), Counted(sized=False),
               Counted(listings=True)]
)  # fmt: skip
def test_a_change_of_the_remote_is_seen(remote):
    fs = cached(remote)
    for number in range(3):
        remote.put_content("a", content(number, 100))
        assert fs.cat_file("a") == content(number, 100)
        assert fs.cat_file("a", 5, 10) == content(number, 100)[5:10]
    assert fs.cache_stats().fetches == 3
    assert held(fs) == {"a": 100}


def test_what_the_remote_lost_is_lost(remote):
    fs = cached(remote)
    remote.put_content("a", b"a")
    assert fs.cat_file("a") == b"a"
    del remote.files["a"]
    with pytest.raises(FileNotFoundError):
        fs.cat_file("a")
    assert held(fs) == {}


def test_never_asks_nobody(remote):
    fs = cached(remote, validate="never")
    remote.put_content("a", b"old")
    assert fs.cat_file("a") == b"old"
    calls = dict(remote.calls)
    remote.put_content("a", b"new")
    assert fs.cat_file("a") == fs.open("a").read() == b"old"
    assert remote.calls == calls
    fs.pop_from_cache("counted://a")
    fs.pop_from_cache("none")
    assert fs.cat_file("a") == b"new"
    del remote.files["a"]
    assert fs.cat_file("a") == b"new"


def test_seconds(remote, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("brimfs.fsspec.cache.files.time.monotonic", lambda: now)
    fs = cached(remote, validate=10)
    remote.put_content("a", b"old")
    assert fs.cat_file("a") == b"old"
    remote.put_content("a", b"new")
    now += 10
    assert fs.cat_file("a") == b"old"
    now += 1
    assert fs.cat_file("a") == b"new"
    remote.put_content("a", b"last")
    now += 9
    assert fs.cat_file("a") == b"new"
    remote.put_content("b", b"b")
    fs.cat_file("b")
    asked = []
    for _ in range(9):
        now += 4
        before = remote.calls["info"]
        fs.cat_file("b")
        asked.append(remote.calls["info"] - before)
    assert asked == [0, 0, 1] * 3
    # One that asks more often shares the cache.
    assert cached(remote).cat_file("a") == b"last"
    assert fs.cat_file("a") == b"last"


@pytest.mark.parametrize("validate", ["sometimes", -1, True, None])
def test_what_is_no_policy(remote, validate):
    with pytest.raises(ValueError, match="validate is"):
        cached(remote, validate=validate)


# fetches that do not go well


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("size", [5000, 4000, 6000])
def test_a_file_that_changes_while_it_is_fetched_is_fetched_again(pieces, size, sized):
    remote = Counted(sized=sized)
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))

    def change(path, position):
        if position >= 2 * PIECE:
            remote.hook = None
            remote.put_content("a", content(1, size))

    remote.hook = change
    assert fs.cat_file("a") == content(1, size)
    stats = fs.cache_stats()
    assert (stats.changed, stats.fetches) == (1, 1)
    assert held(fs) == {"a": size}


def test_a_file_that_changes_all_the_time_is_an_error(remote, pieces):
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))
    remote.hook = lambda path, position: remote.put_content(path, content(position, 5000))
    with pytest.raises(OSError, match="changed each of the 5 times") as caught:
        fs.open("a")
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, "a")
    assert held(fs) == {}


def test_a_file_that_is_cut_short_on_its_way_is_an_error(remote):
    fs = cached(remote)
    remote.put_content("a", content(0, 500))
    remote.cat_file = lambda path, **_: content(0, 400)
    with pytest.raises(OSError, match="says 500 bytes and sends 400") as caught:
        fs.cat_file("a")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, "a")
    assert held(fs) == {}


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("error", [OSError(errno.ECONNRESET, "gone"), ValueError(), Interrupted()])
@pytest.mark.parametrize("at", [0, 2 * PIECE])
def test_a_fetch_that_fails_leaves_nothing(pieces, error, at, sized):
    remote = Counted(sized=sized)
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))

    def fail(path, position):
        if position == at:
            raise error

    remote.hook = fail
    for _ in range(2):
        with pytest.raises(type(error)):
            fs.cat_file("a")
        assert held(fs) == {}
    remote.hook = None
    assert fs.cat_file("a") == content(0, 5000)
    assert held(fs) == {"a": 5000}


def test_a_file_that_is_removed_while_it_is_fetched_is_not_there(remote):
    fs = cached(remote)
    remote.put_content("a", b"a")
    remote.hook = lambda path, _: remote.files.pop(path)
    with pytest.raises(FileNotFoundError):
        fs.cat_file("a")
    assert held(fs) == {}


# limits


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


# writing


def test_writes_go_to_the_remote_and_drop_the_old(remote, tmp_path):
    fs = cached(remote, validate="never")
    (tmp_path / "local").write_bytes(b"local")
    writes = [
        (lambda: fs.pipe_file("d/a", b"1"), b"1"),
        (lambda: fs.pipe({"d/a": b"2"}), b"2"),
        (lambda: fs.pipe("counted://d/a", b"3"), b"3"),
        (lambda: fs.write_text("d/a", "4"), b"4"),
        (lambda: fs.put_file(str(tmp_path / "local"), "d/a"), b"local"),
        (lambda: remote.put_content("d/b", b"5") or fs.cp_file("d/b", "d/a"), b"5"),
        (lambda: fs.put(str(tmp_path / "local"), "d/a"), b"local"),
        (lambda: remote.put_content("d/b", b"6") or fs.copy("d/b", "d/a"), b"6"),
        (lambda: remote.put_content("d/b", b"7") or fs.mv("d/b", "d/a"), b"7"),
        (lambda: remote.put_content("e/a", b"8") or fs.mv("e", "d", recursive=True), b"8"),
        (lambda: fs.touch("d/a"), b""),
    ]
    for write, expected in writes:
        write()
        assert fs.cat_file("d/a") == remote.content("d/a") == expected
    for remove in (
        lambda: fs.rm_file("d/a"),
        lambda: fs.rm("d/a"),
        lambda: fs.rm(["d/a"]),
        lambda: fs.rm("d", recursive=True),
        lambda: fs.rm("d/?"),
        lambda: fs.rm("*/a"),
        lambda: fs.mv("d/a", "d/x"),
        lambda: fs.delete("d/a"),
    ):
        fs.pipe_file("d/a", b"there")
        assert fs.cat_file("d/a") == b"there"
        remove()
        with pytest.raises(FileNotFoundError):
            fs.cat_file("d/a")


def test_a_write_drops_nothing_else(remote):
    fs = cached(remote)
    for path in ("d/a", "d/ab", "da", "d/e/a", "d/ef"):
        remote.put_content(path, b"old")
        fs.cat_file(path)
    other = cached(Counted(tells="mtime"))
    other._identity = "another remote in the same cache"
    other.fs.put_content("d/e/other", b"old")
    other.cat_file("d/e/other")
    fs.pipe_file("d/a", b"new")
    assert sorted(held(fs)) == ["d/ab", "d/e/a", "d/e/other", "d/ef", "da"]
    fs.rm("d/e", recursive=True)
    assert sorted(held(fs)) == ["d/ab", "d/e/other", "d/ef", "da"]
    fs.rm("d/a*")
    assert sorted(held(fs)) == ["d/e/other", "d/ef", "da"]


def test_a_write_that_fails_drops_too(remote):
    fs = cached(remote, validate="never")
    remote.put_content("a", b"old")
    assert fs.cat_file("a") == b"old"

    def half(path, value, **_):
        remote.put_content(path, b"half")
        raise OSError(errno.ECONNRESET, "gone")

    remote.pipe_file = half
    with pytest.raises(OSError, match="gone"):
        fs.pipe_file("a", b"new")
    assert fs.cat_file("a") == b"half"


def test_an_open_file_is_written_to_the_remote(remote):
    fs = cached(remote, validate="never")
    remote.put_content("a", b"old")
    assert fs.cat_file("a") == b"old"
    with fs.open("a", "wb") as file:
        file.write(b"new")
        assert fs.cat_file("a") == b"old"
        assert not file.closed
    assert file.closed
    file.close()
    assert fs.cat_file("a") == b"new"
    file = fs.open("a", "wb")
    file.write(b"dropped")
    del file
    assert fs.cat_file("a") == b"dropped"


def test_a_write_during_a_fetch_is_not_lost(remote):
    """Though the remote says nothing of versions."""
    remote.ukey = lambda path: ""
    remote.tells = None
    fs = cached(remote, validate="never")
    remote.put_content("a", b"old")

    def write(path, position):
        remote.hook = None
        fs.pipe_file("a", b"new")

    remote.hook = write
    assert fs.cat_file("a") == b"new"
    assert fs.cat_file("a") == b"new"
    assert held(fs) == {"a": 3}


def test_a_transaction_is_the_remotes():
    memory = fsspec.filesystem("memory")
    memory.pipe("/tx/a", b"old")
    fs = cached(memory, validate="never")
    assert fs.cat("/tx/a") == b"old"
    with fs.transaction:
        fs.pipe_file("/tx/a", b"new")
        with fs.open("/tx/b", "wb") as file:
            file.write(b"b")
        assert fs.cat("/tx/a") == b"old"
        assert not memory.exists("/tx/b")
    assert (fs.cat("/tx/a"), fs.cat("/tx/b")) == (b"new", b"b")
    with pytest.raises(ZeroDivisionError), fs.transaction:
        fs.pipe_file("/tx/a", b"never")
        raise ZeroDivisionError
    assert fs.cat("/tx/a") == memory.cat("/tx/a") == b"new"
    memory.rm("/tx", recursive=True)


# threads


def test_threads_that_want_a_file_share_a_fetch(remote):
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))
    arrived = threading.Condition()
    info = remote.info

    def counting(path, **kwargs):
        with arrived:
            found = info(path, **kwargs)
            arrived.notify_all()
        return found

    def wait_for_all(path, position):
        with arrived:
            assert arrived.wait_for(lambda: remote.calls["info"] >= 8, timeout=60)

    remote.info = counting
    remote.hook = wait_for_all
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(fs.cat_file, ["a"] * 8)) == {content(0, 5000)}
    assert remote.calls["cat"] == 1
    stats = fs.cache_stats()
    assert (stats.hits + stats.misses, stats.fetches) == (8, 1)


@pytest.mark.parametrize("error", [OSError(errno.ECONNRESET, "gone"), Interrupted()])
def test_threads_that_wait_for_a_fetch_that_fails(remote, error):
    """They get its error, or fetch themselves if it was interrupted."""
    fs = cached(remote)
    remote.put_content("a", b"a")
    leads, failing = threading.Event(), threading.Event()

    def fail(path, position):
        remote.hook = None
        leads.set()
        assert failing.wait(60)
        raise error

    remote.hook = fail
    outcomes = []

    def read():
        try:
            outcomes.append(fs.cat_file("a"))
        except BaseException as caught:
            outcomes.append(caught)

    threads = [threading.Thread(target=read)]
    threads[0].start()
    assert leads.wait(60)
    (flight,) = fs._files._flights.values()
    threads.append(threading.Thread(target=read))
    waits = threading.Event()
    result = flight.result
    flight.result = lambda: (waits.set(), result())[1]
    threads[1].start()
    assert waits.wait(60)
    failing.set()
    for thread in threads:
        thread.join()
    assert outcomes.count(error) == (2 if isinstance(error, Exception) else 1)
    assert outcomes.count(b"a") == 2 - outcomes.count(error)
    assert fs.cat_file("a") == b"a"
    held(fs)


def test_threads_that_read_write_and_evict(remote):
    """What a thread reads is never older than what was there when it asked, and always whole."""
    fs = cached(remote, limit=64 * KIB)
    paths = [f"{number}" for number in range(20)]

    def made(version, size):
        return b"%06d" % version * (size // 6)

    for path in paths:
        remote.put_content(path, made(0, 6 * KIB))
    written = dict.fromkeys(paths, 0)
    locks = {path: threading.Lock() for path in paths}

    def work(seed):
        draw = random.Random(seed)
        for _ in range(300):
            path = draw.choice(paths)
            if draw.random() < 0.1:
                with locks[path]:
                    written[path] += 1
                    version = written[path]
                    fs.pipe_file(path, made(version, draw.choice((3, 6, 9)) * KIB))
                continue
            if not locks[path].acquire(blocking=False):
                continue
            locks[path].release()
            before = written[path]
            try:
                found = fs.open(path).read() if draw.random() < 0.5 else fs.cat_file(path)
            except OSError as error:
                # Somebody wrote each time it was fetched.
                if error.errno != errno.ESTALE:
                    raise
                continue
            version = int(found[:6])
            assert found == made(version, len(found))
            assert version >= before - 1
            within_limits(fs)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    for path in paths:
        assert fs.cat_file(path) == remote.content(path)
    held(fs)


def test_who_waits_for_a_fetch_gets_nothing_older_than_he_asked_for(remote):
    """The file changes after the last look of whoever fetches it, before another one asks."""
    fs = cached(remote)
    remote.put_content("a", b"old")
    files = fs._files
    keep, waits = files._keep, threading.Event()
    found = []

    def keep_late(*arguments):
        files._keep = keep
        remote.put_content("a", b"new")
        (flight,) = files._flights.values()
        result = flight.result
        flight.result = lambda: (waits.set(), result())[1]
        thread = threading.Thread(target=lambda: found.append(fs.cat_file("a")))
        thread.start()
        # The lock is held here: let go of it until the other one waits for this fetch.
        files._lock.release()
        assert waits.wait(60)
        files._lock.acquire()
        found.append(thread)
        return keep(*arguments)

    files._keep = keep_late
    assert fs.cat_file("a") == b"old"
    found[0].join()
    assert found[1:] == [b"new"]
    assert held(fs) == {"a": 3}


# options


def test_caches_are_shared_by_those_who_ask_for_the_same():
    memory = fsspec.filesystem("memory")
    memory.pipe("/shared/a", b"a")
    options = {"target_protocol": "memory", "memory_limit": "16MiB"}
    found = []
    for _ in range(2):
        thread = threading.Thread(
            target=lambda: found.append(
                fsspec.filesystem("brimcache", **options, skip_instance_cache=True)
            )
        )
        thread.start()
        thread.join()
    first, second = found
    assert first is not second
    assert first.cat("/shared/a") == second.cat("/shared/a") == b"a"
    assert first.cache_stats().hits == second.cache_stats().hits == 1
    other = fsspec.filesystem("brimcache", **options | {"memory_limit": 32 << 20})
    assert other.cache_stats().files == 0
    first.clear_cache()
    assert held(second) == {}
    memory.rm("/shared", recursive=True)


def test_remotes_with_other_options_do_not_share_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
        url = "brimcache::dir://a::file://" + str(tmp_path / name)
        fs = fsspec.filesystem(
            "brimcache",
            fs=fsspec.filesystem("dir", path=str(tmp_path / name), fs=fsspec.filesystem("file")),
            memory_limit="16MiB",
            validate="never",
        )
        assert fs.cat("a") == name.encode(), url
    assert fs.cache_stats().files == 2


def test_the_defaults_bound_the_cache(remote):
    fs = BrimCacheFileSystem(fs=remote, skip_instance_cache=True)
    stats = fs.cache_stats()
    assert stats.memory_limit == 256 * MIB
    assert stats.limit == 128 * MIB + 2048 * MIB
    fs = cached(remote, limit=None, memory_limit="8MiB", spill_dir=False)
    assert fs.cache_stats().limit == 4 * MIB
    fs = cached(remote, limit="1KiB", memory_limit="8MiB", disk_limit="16MiB")
    assert fs.cache_stats().limit == 1024


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"cache_storage": "x"}, TypeError, "no option cache_storage"),
        ({"memory_limit": 0.5}, TypeError, "memory_limit is a number of bytes"),
        ({"limit": 0}, ValueError, "there would be no cache"),
        ({"limit": "much"}, ValueError, "much"),
        ({"store": "x", "spill_dir": "y"}, ValueError, "leave spill_dir out"),
        ({"disk_limit": "1GiB", "spill_dir": False}, ValueError, "spill_dir=False"),
        ({"target_protocol": "memory"}, ValueError, "either"),
    ],
)
def test_options_that_are_refused(remote, options, error, match):
    with pytest.raises(error, match=match):
        cached(remote, **options)
    with pytest.raises(ValueError, match="either"):
        BrimCacheFileSystem()


def test_an_instance_pickles_with_its_options():
    memory = fsspec.filesystem("memory")
    memory.pipe("/pickled/a", b"abcdef")
    fs = fsspec.filesystem("brimcache", target_protocol="memory", memory_limit="16MiB")
    again = pickle.loads(pickle.dumps(fs))
    assert again is fs
    assert fsspec.AbstractFileSystem.from_json(fs.to_json()) == fs
    with fs.open("/pickled/a") as file:
        file.read(2)
        with pickle.loads(pickle.dumps(file)) as other:
            assert other.read() == b"cdef"
    memory.rm("/pickled", recursive=True)
