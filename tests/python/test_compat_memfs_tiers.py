"""memfs: what is in memory, what is on the disk, and what others do there."""

from __future__ import annotations

import os
import tempfile
import threading

import pytest

from brimfs.compat.memfs import ExternalModificationError, MemFileSystem

KIB = 1024


@pytest.fixture
def place(tmp_path):
    return tmp_path / "place"


@pytest.fixture(params=["temp", "persist"])
def fs(request, place):
    with MemFileSystem(5 * KIB, persist_path=place, storage_mode=request.param) as fs:
        yield fs


def kept(place, limit=5 * KIB):
    return MemFileSystem(limit, persist_path=place, storage_mode="persist")


def in_memory(fs):
    return sorted(fs.get_memory_map())


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no directory in memory")
def test_a_place_in_memory_is_said_to_be_no_place_to_spill_to(caplog):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        with MemFileSystem(5 * KIB, persist_path=place, storage_mode="temp") as fs:
            fs.write("/a", b"a" * 10 * KIB)
            assert fs.read("/a") == b"a" * 10 * KIB
        [warning] = caplog.records
        assert warning.name == "brimfs.compat.memfs"
        assert place in warning.getMessage()


def test_the_limit_is_met_to_the_byte_and_nothing_is_lost(fs):
    for number in range(20):
        fs.write(f"/{number}", bytes([number]) * KIB)
        assert fs.get_stats()["memory"]["current_usage"] <= 5 * KIB
    assert len(in_memory(fs)) == 5
    for number in range(20):
        assert fs.read(f"/{number}") == bytes([number]) * KIB
        assert fs.get_file_info(f"/{number}")["in_memory"]
    assert fs.get_stats()["memory"]["peak_usage"] == 5 * KIB


def test_a_file_beyond_the_limit_is_real(fs):
    fs.write("/big", b"x" * 6 * KIB)
    assert fs.get_file_info("/big")["location"] == "real"
    assert fs.read("/big") == b"x" * 6 * KIB
    assert fs.get_file_info("/big")["in_memory"] is False
    fs.write("/big", b"small")
    assert fs.get_file_info("/big")["in_memory"] is True
    fs.write("/big", b"x" * 6 * KIB)
    assert fs.get_stats()["memory"]["current_usage"] == 0


def test_what_is_worth_less_goes_first(fs):
    for name, priority in (("low", 1), ("normal", 5), ("high", 8), ("locked", 10), ("free", 5)):
        fs.write(f"/{name}", b"x" * KIB, priority=priority)
    for _ in range(3):
        fs.read("/free")
    fs.write("/new", b"x" * KIB)
    assert "/low" not in in_memory(fs)
    fs.write("/newer", b"x" * KIB, priority=6)
    assert not {"/low", "/normal", "/new"} <= set(in_memory(fs))
    assert {"/high", "/locked", "/free"} <= set(in_memory(fs))
    fs.set_priority("/high", 0)
    fs.write("/newest", b"x" * 2 * KIB)
    assert "/high" not in in_memory(fs)


def test_locked_files_leave_for_other_locked_ones_only(fs):
    for number in range(5):
        fs.write(f"/{number}", b"x" * KIB, priority=9)
    fs.write("/unlocked", b"x" * KIB)
    assert in_memory(fs) == [f"/{number}" for number in range(5)]
    assert fs.read("/unlocked") == b"x" * KIB
    fs.write("/locked", b"x" * KIB, priority=10)
    assert "/locked" in in_memory(fs)
    assert fs.get_stats()["memory"]["current_usage"] == 5 * KIB


@pytest.mark.parametrize(("target", "left"), [(0.4, 2), (0.5, 2), (0.6, 3), (1.0, 5), (0.0, 0)])
def test_gc_is_exact(fs, target, left):
    for number in range(5):
        fs.write(f"/{number}", b"x" * KIB, priority=number)
    assert fs.gc(target_usage=target) == 5 - left
    assert in_memory(fs) == [f"/{number}" for number in range(5 - left, 5)]
    assert fs.gc(target) == 0
    with pytest.raises(ValueError):
        fs.gc(1.5)


def test_gc_takes_locked_files_last(fs):
    fs.write("/locked", b"x" * KIB, priority=10)
    fs.write("/normal", b"x" * KIB)
    assert fs.gc(0.2) == 1
    assert in_memory(fs) == ["/locked"]
    assert fs.gc(0) == 1
    assert fs.read("/locked") == b"x" * KIB


def test_reads_raise_the_priority(place):
    with MemFileSystem(persist_path=place, priority_boost_threshold=2) as fs:
        fs.write("/a", b"x")
        for expected in (5, 5, 6, 7, 8, 8):
            fs.read("/a")
            assert fs.get_priority("/a") == expected


def test_preloading(fs):
    fs.write("/a", b"x" * KIB)
    fs.gc(0)
    task = fs.preload("/a", priority=9)
    assert isinstance(task, str)
    assert task.startswith("task_1_")
    assert task.wait(60)
    assert task.done()
    assert not task.result().errors
    info = fs.get_file_info("/a")
    assert (info["in_memory"], info["priority"]) == (True, 9)
    missing = fs.preload("/none")
    assert missing.wait()
    with pytest.raises(FileNotFoundError):
        missing.result()
    assert fs.get_stats()["cache"]["preloads"] == 1


def test_where_a_file_is(place):
    with kept(place) as fs:
        fs.write("/d/a", b"12", priority=7)
        fs.flush()
        fs.read("/d/a")
        info = fs.get_file_info("d\\a")
        assert (info["path"], info["key"], info["location"]) == ("d\\a", "/d/a", "both")
        assert (info["in_memory"], info["priority"], info["size"]) == (True, 7, 2)
        assert info["access_count"] == 1
        assert info["created_at"] <= info["last_accessed"]
        assert abs(info["mtime"] - info["created_at"]) < 5
        fs.gc(0)
        assert fs.get_file_info("/d/a")["location"] == "real"
        assert fs.get_file_info("/d") is None
        assert fs.get_file_info("/none") is None
        assert fs.set_priority("/none", 5) is False
        assert fs.get_priority("/none") is None
        assert fs.get_memory_map() == {}
    with MemFileSystem(1000, persist_path=place.parent / "t") as temp:
        temp.write("/a", b"12")
        assert temp.get_file_info("/a")["location"] == "memory"
        assert temp.get_memory_map() == {
            "/a": {"in_memory": True, "priority": 5, "size": 2, "location": "memory"}
        }


def test_statistics_are_true(place):
    with kept(place) as fs:
        for number in range(8):
            fs.write(f"/{number}", b"x" * KIB)
        fs.read("/7")
        fs.read("/0")
        with pytest.raises(FileNotFoundError):
            fs.read("/none")
        fs.delete("/1")
        fs.flush()
        stats = fs.get_stats()
    assert list(stats) == ["uptime_seconds", "memory", "disk", "cache", "operations"]
    assert stats["memory"] == {
        "current_usage": 5 * KIB,
        "current_usage_mb": 5 / KIB,
        "peak_usage": 5 * KIB,
        "peak_usage_mb": 5 / KIB,
        "limit": 5 * KIB,
        "limit_mb": 5 / KIB,
        "usage_percent": 100.0,
        "file_count": 5,
        "total_size": 5 * KIB,
        "total_size_mb": 5 / KIB,
    }
    disk = stats["disk"]
    assert list(disk) == [
        "path",
        "current_usage",
        "current_usage_mb",
        "total_capacity",
        "total_capacity_mb",
        "usage_percent",
        "file_count",
    ]
    assert (disk["path"], disk["current_usage"], disk["file_count"]) == (str(place), 7 * KIB, 7)
    assert disk["total_capacity"] > 0
    assert stats["cache"] == {
        "hits": 1,
        "misses": 1,
        "hit_rate": 50.0,
        "swaps_in": 1,
        "swaps_out": 4,
        "preloads": 0,
        "evictions": 4,
    }
    operations = stats["operations"]
    assert (operations["read_count"], operations["write_count"], operations["delete_count"]) == (
        2,
        8,
        1,
    )
    assert operations["total_operations"] == 11
    assert operations["avg_read_time_ms"] > 0
    assert operations["avg_write_time_ms"] > 0


# ---------------------------------------------------------------------- the directory


def test_the_layout_is_one_plain_file_for_each(place):
    with kept(place) as fs:
        fs.write("/a/b.txt", "text")
        fs.write("/c", os.urandom(10_000))
        content = fs.read("/c")
    assert (place / "a/b.txt").read_bytes() == b"text"
    assert (place / "c").read_bytes() == content
    found = {path.relative_to(place).parts[0] for path in place.rglob("*")}
    assert found == {"a", "c", ".brimfs"}


def test_a_directory_of_the_older_package_opens_unchanged(place):
    (place / "deep/er").mkdir(parents=True)
    (place / "empty").mkdir()
    (place / "deep/er/a").write_bytes(b"1")
    (place / "b").write_bytes(b"x" * 10_000)
    with kept(place) as fs:
        assert fs.glob("/**") == ["/b", "/deep/er/a"]
        assert [fs.get_file_info(path)["location"] for path in ("/b", "/deep/er/a")] == ["real"] * 2
        disk = fs.get_stats()["disk"]
        assert (disk["file_count"], disk["current_usage"]) == (2, 10_001)
        assert fs.read("/b") == b"x" * 10_000
        assert fs.read("/deep/er/a") == b"1"
        assert fs.get_file_info("/deep/er/a")["location"] == "both"
    assert (place / "b").read_bytes() == b"x" * 10_000


def test_it_is_there_again(place):
    with kept(place) as fs:
        for number in range(300):
            fs.write(f"/{number}", str(number))
        fs.delete("/0")
        fs.write("/1", "again")
    with kept(place) as fs:
        assert len(fs.glob("/*")) == 299
        assert fs.read("/1") == b"again"
        assert all(fs.read(f"/{number}") == str(number).encode() for number in range(2, 300))


def test_an_end_that_nobody_waits_for(place):
    fs = kept(place)
    fs.write("/a", b"x")
    assert fs.shutdown_async() in (0, 1)
    for thread in threading.enumerate():
        if thread.name == "memfs-shutdown":
            thread.join()
    assert (place / "a").read_bytes() == b"x"


def test_one_filesystem_at_a_time_has_a_directory(place):
    with kept(place), pytest.raises(OSError, match=r"open|use"):
        kept(place)


@pytest.mark.parametrize("content", [b"longer than before", b"same", b"s"])
def test_what_others_write_is_read(place, content):
    with kept(place) as fs:
        fs.write("/a", b"mine")
        fs.flush()
        (place / "a").write_bytes(content)
        os.utime(place / "a", ns=(1, 1))
        assert fs.read("/a", check_external=False) == b"mine"
        assert fs.read("/a") == content
        assert fs.get_file_info("/a")["size"] == len(content)
    assert (place / "a").read_bytes() == content


def test_a_file_that_others_empty_is_an_error(place):
    with kept(place) as fs:
        fs.write("/a", b"mine")
        fs.flush()
        (place / "a").write_bytes(b"")
        with pytest.raises(ExternalModificationError):
            fs.read("/a")
        assert fs.read("/a", check_external=False) == b"mine"


def test_a_file_that_others_remove_is_served_from_memory(place):
    with kept(place) as fs:
        fs.write("/a", b"mine")
        fs.flush()
        (place / "a").unlink()
        assert fs.read("/a") == b"mine"


def test_a_file_that_others_make_is_found(place):
    with kept(place) as fs:
        fs.write("/mine", b"1")
        (place / "d").mkdir()
        (place / "d/new").write_bytes(b"new")
        assert fs.exists("/d/new")
        assert fs.read("/d/new") == b"new"
        (place / "other").write_bytes(b"2")
        assert fs.delete("/other") is True
        fs.flush()
        assert not (place / "other").exists()
        assert fs.read("/mine") == b"1"
