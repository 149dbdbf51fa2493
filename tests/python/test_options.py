"""Construction, limits, counters, life."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import weakref

import pytest

import brimfs


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1 << 20, 1 << 20),
        ("1048576", 1 << 20),
        ("1MiB", 1 << 20),
        (" 1.5 MiB ", 3 << 19),
        ("2mb", 2_000_000),
        ("1.5GB", 1_500_000_000),
        ("64KiB", 1 << 16),
        ("100 kB", 100_000),
        ("70000B", 70_000),
        ("2TiB", 2 << 40),
    ],
)
def test_sizes(size, expected):
    with brimfs.FileSystem(quota=size, memory_limit="1GiB") as fs:
        assert fs.stats().quota_limit == expected
    assert brimfs.Budget(size).limit == expected


@pytest.mark.parametrize(
    "size", ["", "MiB", "5G", "5k", "-1", "1..5MB", ".5MB", "1.MB", "1e6", "0.5", "5 5"]
)
def test_texts_that_are_no_sizes(size):
    with pytest.raises(ValueError, match="quota"):
        brimfs.FileSystem(quota=size)


@pytest.mark.parametrize("size", [-1, 1 << 63, 1 << 80, "9999999PiB"])
def test_sizes_out_of_range(size):
    with pytest.raises(ValueError):
        brimfs.FileSystem(quota=size)


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"quota": 1.5}, TypeError),
        ({"quota": True}, TypeError),
        ({"quota": b"1"}, TypeError),
        ({"memory_limit": 0.0}, ValueError),
        ({"memory_limit": 1.1}, ValueError),
        ({"memory_limit": -0.5}, ValueError),
        ({"memory_limit": float("nan")}, ValueError),
        ({"memory_limit": [1]}, TypeError),
        ({"memory_limit": None}, TypeError),
        ({"max_nodes": "5"}, TypeError),
        ({"max_nodes": -5}, ValueError),
        ({"lock_timeout": -1}, ValueError),
        ({"lock_timeout": float("nan")}, ValueError),
        ({"lock_timeout": "x"}, TypeError),
        ({"memory_guard": "loud"}, ValueError),
        ({"memory_guard": None}, TypeError),
        ({"umask": 0o1000}, ValueError),
        ({"umask": -1}, (ValueError, OverflowError)),
        ({"budget": 5}, TypeError),
        ({"unknown": 5}, TypeError),
        ({"budget": brimfs.Budget("1MiB"), "memory_limit": "1MiB"}, ValueError),
    ],
)
def test_wrong_options(keywords, error):
    with pytest.raises(error):
        brimfs.FileSystem(**keywords)


def test_options_are_keywords():
    with pytest.raises(TypeError):
        brimfs.FileSystem(None, "1MiB")


def test_a_share_is_of_the_machine():
    with brimfs.FileSystem(memory_limit=0.25) as fs, brimfs.FileSystem(memory_limit=1.0) as other:
        assert fs.stats().memory_limit > 1 << 20
        assert other.stats().memory_limit >= fs.stats().memory_limit


def test_the_umask():
    with brimfs.FileSystem(umask=0o077, memory_limit="64MiB") as fs:
        fs.write_bytes("/a", b"")
        assert fs.stat("/a").st_mode & 0o777 == 0o600


def test_two_filesystems_share_a_budget():
    budget = brimfs.Budget("8MiB")
    first = brimfs.FileSystem(budget=budget, spill_dir=False)
    second = brimfs.FileSystem(budget=budget, spill_dir=False)
    first.write_bytes("/a", b"x" * 5_000_000)
    used = budget.used
    assert used >= 5_000_000
    with pytest.raises(brimfs.MemoryLimitExceeded):
        second.write_bytes("/b", b"x" * 5_000_000)
    assert not second.exists("/b")
    with pytest.raises(brimfs.MemoryLimitExceeded):
        budget.limit = "1MiB"
    assert budget.limit == 8 << 20
    budget.limit = "16MiB"
    second.write_bytes("/b", b"x" * 5_000_000)
    assert budget.peak >= 10_000_000
    first.close()
    second.close()
    del first, second
    gc.collect()
    assert budget.used == 0
    assert "of 16.0 MiB" in repr(budget)


def test_counters(fs):
    fs.mkdir("/d")
    fs.write_bytes("/d/a", b"x" * 1000)
    fs.symlink("a", "/d/b")
    with fs.open("/d/a", "rb"), fs.open("/d/a", "rb"):
        assert fs.stats().open_handles == 2
    stats = fs.stats()
    assert (stats.files, stats.directories, stats.symlinks, stats.nodes) == (1, 2, 1, 4)
    assert stats.quota_used == 1000
    assert stats.quota_limit is None
    assert stats.max_nodes is None
    assert 1000 < stats.resident <= stats.resident_peak <= stats.memory_limit == 1 << 30
    assert stats.open_handles == stats.views == stats.lock_waiters == 0
    assert stats == fs.stats()
    as_dict = stats._asdict()
    assert as_dict["files"] == 1
    assert set(as_dict) == {name for name in dir(stats) if not name.startswith("_")}
    with pytest.raises(AttributeError):
        stats.files = 5
    assert "1 files, 2 directories" in repr(stats)


def test_counters_return_to_zero(fs):
    empty = fs.stats().resident
    for number in range(300):
        path = f"/d{number}"
        fs.mkdir(path)
        fs.write_bytes(path + "/a", b"x" * 5000)
        assert fs.exists(path + "/a")
        fs.listdir(path)
    for number in range(300):
        fs.rmtree(f"/d{number}")
    fs.clear_caches()
    stats = fs.stats()
    assert stats.quota_used == 0
    assert stats.nodes == 1
    assert stats.cached_paths == 0
    assert stats.resident <= max(empty, 64 << 10)


def test_closing(fs):
    file = fs.open("/a", "wb")
    text = fs.open("/b", "w")
    view_source = fs.write_bytes("/c", b"c" * 5000)
    assert view_source == 5000
    view = fs.view("/c")
    fs.exists("/c")
    fs.listdir("/")
    assert not fs.closed
    fs.close()
    fs.close()
    assert fs.closed
    calls = [
        lambda: fs.exists("/c"),
        lambda: fs.is_file("/c"),
        lambda: fs.read_bytes("/c"),
        lambda: fs.write_bytes("/c", b""),
        lambda: fs.append_bytes("/c", b""),
        lambda: fs.open("/c"),
        lambda: fs.open("/c", "rb"),
        lambda: fs.listdir("/"),
        lambda: fs.scandir("/"),
        lambda: list(fs.walk("/", onerror=print)),
        lambda: fs.glob("*"),
        lambda: fs.stat("/c"),
        lambda: fs.mkdir("/x"),
        lambda: fs.remove("/c"),
        lambda: fs.rename("/c", "/d"),
        lambda: fs.view("/c"),
        lambda: fs.__enter__(),
        lambda: file.write(b"x"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()
    file.close()
    text.close()
    assert bytes(view) == b"c" * 5000
    assert repr(fs) == "<brimfs.FileSystem, closed>"


def test_the_with_statement():
    with brimfs.FileSystem(memory_limit="64MiB") as fs:
        fs.write_bytes("/a", b"")
    assert fs.closed


def test_what_it_says_of_itself():
    with brimfs.FileSystem(quota="64MiB", memory_limit="1GiB") as fs:
        assert repr(fs) == "<brimfs.FileSystem 0 files, 0 B of 64.0 MiB>"
        fs.write_bytes("/a", b"x" * 3_565_158)
        assert repr(fs) == "<brimfs.FileSystem 1 file, 3.4 MiB of 64.0 MiB>"
        with fs.open("/a", "rb") as file:
            assert repr(file) == "<brimfs.File name='/a' mode='rb'>"
        assert repr(fs.view("/a")) == "<brimfs.View of 3565158 bytes>"


def test_nothing_can_be_pickled_or_copied(fs):
    fs.write_bytes("/a", b"")
    with fs.open("/a", "rb") as file:
        for thing in (fs, file, fs.view("/a"), brimfs.Budget(1 << 20), next(fs.scandir("/"))):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                with pytest.raises(TypeError, match=r"cannot (pickle|copy)"):
                    pickle.dumps(thing, protocol)
            with pytest.raises(TypeError, match=r"cannot (pickle|copy)"):
                copy.deepcopy(thing)


def test_weak_references(fs):
    fs.write_bytes("/a", b"")
    things = [fs.open("/a", "rb"), fs.view("/a"), brimfs.Budget(1 << 20)]
    things[0].close()
    references = [weakref.ref(thing) for thing in things]
    del things
    gc.collect()
    assert all(reference() is None for reference in references)
    assert weakref.ref(fs)() is fs


def test_everything_is_documented():
    for cls in (
        brimfs.FileSystem,
        brimfs.File,
        brimfs.View,
        brimfs.Budget,
        brimfs.Stats,
        brimfs.DirEntry,
        brimfs.Preload,
        brimfs.PreloadReport,
        brimfs.GcReport,
        brimfs.ExternalChanges,
        brimfs.Explanation,
        brimfs.LogEntry,
    ):
        assert cls.__module__ == "brimfs"
        assert cls.__doc__
        for name, member in vars(cls).items():
            if not name.startswith("_"):
                assert member.__doc__, f"{cls.__name__}.{name}"
                if callable(member):
                    inspect.signature(member)
    assert brimfs.__version__.count(".") == 2
