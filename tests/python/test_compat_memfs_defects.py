"""Every known defect of memfs, by its number on the list: brimfs does not have it."""

from __future__ import annotations

import errno
import os
import threading

import pytest

import brimfs
from brimfs.compat import memfs
from brimfs.compat.memfs import MemFileSystem

KIB = 1024


@pytest.fixture
def place(tmp_path):
    return tmp_path / "place"


@pytest.fixture(params=["temp", "persist"])
def fs(request, place):
    with MemFileSystem(5 * KIB, persist_path=place, storage_mode=request.param) as fs:
        yield fs


def kept(place, limit=1 << 20, **more):
    return MemFileSystem(limit, persist_path=place, storage_mode="persist", **more)


def test_01_everything_is_kept_however_much_it_is(place):
    with kept(place) as fs:
        for number in range(250):
            fs.write(f"/{number}", str(number))
    with kept(place) as fs:
        assert [fs.read(f"/{n}") for n in range(250)] == [str(n).encode() for n in range(250)]


def test_02_03_what_leaves_memory_is_not_lost_and_can_come_back(fs):
    for number in range(20):
        fs.write(f"/{number}", bytes([number]) * KIB)
    for _ in range(3):
        for number in range(20):
            assert fs.read(f"/{number}") == bytes([number]) * KIB
            assert fs.preload(f"/{number}").result().errors == ()


@pytest.mark.parametrize("limit", [5 * KIB, 0])
def test_04_05_a_read_gives_what_was_written_last(place, limit):
    with kept(place, limit) as fs:
        for number in range(50):
            content = f"version {number}".encode() * (number % 3 + 1)
            fs.write("/a", content)
            assert fs.read("/a") == content
    assert (place / "a").read_bytes() == content


def test_06_content_of_the_same_size_is_kept_too(place):
    with kept(place) as fs:
        fs.write("/a", "aaa")
        fs.flush()
        fs.write("/a", "bbb")
        fs.gc(0)
    with kept(place) as fs:
        assert fs.read("/a") == b"bbb"


def test_07_what_is_removed_stays_away(place):
    with kept(place) as fs:
        for _ in range(20):
            fs.write("/a", b"x")
            assert fs.delete("/a") is True
            assert fs.exists("/a") is False
        fs.flush()
        assert not (place / "a").exists()
    with kept(place) as fs:
        assert fs.listdir() == []


def test_08_modes_do_what_they_say(fs):
    fs.write("/a", "old")
    with fs.open("/a", "a") as file:
        file.write("new")
    assert fs.read("/a") == b"oldnew"
    with fs.open("/a", "w+") as file:
        assert file.read() == ""
    assert fs.read("/a") == b""
    with pytest.raises(FileNotFoundError):
        fs.open("/none", "r")
    with pytest.raises(TypeError), fs.open("/failed", "wb") as file:
        file.write("text")
    assert not fs.exists("/failed")


def test_09_priority_and_use_keep_a_file_in_memory(fs):
    for name, priority in (("one", 1), ("five", 5), ("eight", 8)):
        fs.write(f"/{name}", b"x" * KIB, priority=priority)
    fs.write("/used", b"x" * KIB, priority=1)
    for _ in range(5):
        fs.read("/used")
    fs.write("/new", b"x" * 2 * KIB)
    assert sorted(fs.get_memory_map()) == ["/eight", "/five", "/new", "/used"]


def test_10_gc_takes_what_it_was_told(fs):
    assert fs.gc(0) == 0
    for number in range(5):
        fs.write(f"/{number}", b"x" * KIB, priority=9)
    assert fs.gc(0.4) == 3
    assert fs.get_stats()["memory"]["usage_percent"] == 40


@pytest.mark.parametrize("path", ["/../x", "..\\x", "/a/../../x"])
def test_11_no_path_leads_to_the_host(fs, place, path):
    for call in (
        lambda: fs.write(path, b"x"),
        lambda: fs.read(path),
        lambda: fs.delete(path),
        lambda: fs.open(path, "w"),
        lambda: fs.mkdir(path),
    ):
        with pytest.raises(ValueError):
            call()
    assert fs.exists(path) is False
    assert not (place.parent / "x").exists()


def test_11_two_slashes_are_one(fs, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with pytest.raises(FileNotFoundError):
        fs.read(f"/{secret}")
    assert not fs.exists("//etc/hostname")


def test_11_links_of_the_host_lead_nowhere(place):
    (place.parent / "secret").write_text("secret")
    place.mkdir()
    (place / "link").symlink_to(place.parent / "secret")
    (place / "dir").symlink_to(place.parent)
    with kept(place) as fs:
        for path in ("/link", "/dir/secret"):
            with pytest.raises(OSError):
                fs.read(path)
        assert fs.glob("/**") == []


def test_12_patterns_keep_to_directories(fs):
    fs.write("/a.py", b"")
    fs.write("/d/b.py", b"")
    assert fs.glob("/*.py") == ["/a.py"]
    assert fs.glob("/**/*.py") == ["/a.py", "/d/b.py"]


def test_13_a_disk_that_fails_is_an_error(place, monkeypatch):
    fs = kept(place)
    core = fs._core

    class Failing:
        def sync(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name):
            return getattr(core, name)

    fs._write_back_thread._core = Failing()
    fs.write("/a", b"x")
    with pytest.raises(OSError) as caught:
        fs.flush()
    assert caught.value.errno == errno.ENOSPC
    assert fs.get_file_info("/a")["location"] == "memory"
    assert fs.read("/a") == b"x"
    fs._write_back_thread._core = core
    fs.flush()
    assert fs.get_file_info("/a")["location"] == "both"
    fs.shutdown()
    assert (place / "a").read_bytes() == b"x"


def test_14_no_queue_runs_full(fs):
    for number in range(150):
        fs.write(f"/{number}", b"x" * 100)
        fs.preload(f"/{number}")
    assert all(fs.delete(f"/{number}") for number in range(150))


def test_15_many_read_one_file_at_once(fs):
    fs.write("/a", b"x" * KIB)
    found = []

    def read():
        found.append(fs.read("/a"))

    for _ in range(5):
        fs.gc(0)
        threads = [threading.Thread(target=read) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [b"x" * KIB] * 160


def test_16_statistics_and_info_are_true(fs):
    fs.write("/d/a", b"x" * KIB)
    stats = fs.get_stats()
    assert (stats["cache"]["hits"], stats["memory"]["total_size"]) == (0, KIB)
    fs.delete("/d/a")
    assert fs.get_stats()["operations"]["delete_count"] == 1
    assert fs.get_file_info("/d") is None


def test_17_closing_one_leaves_the_global_of_another(tmp_path):
    first = memfs.init(1000, persist_path=tmp_path / "1")
    second = memfs.init(1000, persist_path=tmp_path / "2")
    assert memfs.close(first) is True
    assert memfs.get_global_fs() is second
    assert memfs.close() is True
    implicit = memfs.get_global_fs()
    assert not os.path.exists("memfs_data")
    assert memfs.close() is True
    assert not os.path.exists(implicit.persist_path)


def test_18_temporary_content_is_not_written_to_the_disk(place):
    with MemFileSystem(1 << 20, persist_path=place) as fs:
        for number in range(100):
            fs.write(f"/{number}", b"secret" * 100)
        assert fs._core.stats().disk_written == 0
        assert list(place.rglob("*")) == []


def test_19_the_limit_is_of_what_the_machine_gives(place):
    with (
        MemFileSystem(memory_limit=0.5, persist_path=place) as fs,
        brimfs.FileSystem(memory_limit=0.5, spill_dir=False) as same,
    ):
        limit = fs.get_stats()["memory"]["limit"]
        assert limit == pytest.approx(same.stats().memory_limit, rel=0.2)
    with MemFileSystem(KIB, persist_path=place) as fs:
        for number in range(5):
            fs.write(f"/{number}", b"x" * KIB, priority=10)
            assert fs.get_stats()["memory"]["usage_percent"] == 100


def test_20_the_documented_argument_exists(place):
    with MemFileSystem(memory_limit=0.8, persist_path=place) as fs:
        assert fs.write("/a", "x") == 1


def test_21_an_abrupt_end_keeps_what_was_flushed(place, run_script):
    done = run_script(
        f"""
        import os
        from brimfs.compat.memfs import MemFileSystem
        fs = MemFileSystem(persist_path={str(place)!r}, storage_mode="persist", memory_limit=0.1)
        for number in range(80):
            fs.write(f"/{{number}}", str(number) * 1000)
        fs.flush()
        fs.write("/0", "later" * 1000)
        os._exit(3)
        """
    )
    assert done.returncode == 3, done.stderr
    with kept(place) as fs:
        for number in range(1, 80):
            assert fs.read(f"/{number}") == str(number).encode() * 1000
        assert fs.read("/0") in (b"0" * 1000, b"later" * 1000)


def test_22_a_name_is_a_file_or_a_directory(fs):
    fs.write("/t", b"file")
    assert fs.mkdir("/t") is False
    with pytest.raises(NotADirectoryError):
        fs.write("/t/u", b"x")
    assert fs.listdir() == ["t"]
    fs.mkdir("/a/b/a")
    assert (fs.listdir("/a"), fs.listdir("/a/b")) == (["b"], ["a"])


def test_23_what_is_written_is_a_copy_of_what_can_change(fs):
    data = bytearray(b"before")
    fs.write("/a", data)
    data[:] = b"after!"
    assert fs.read("/a") == b"before"
    assert type(fs.read("/a")) is bytes


def test_24_every_filesystem_has_its_own_log(tmp_path):
    logs = [tmp_path / "logs/1.log", tmp_path / "logs/2.log"]
    both = [MemFileSystem(1000, persist_path=tmp_path / p.stem, log_path=p) for p in logs]
    for number, fs in enumerate(both):
        fs.write(f"/of-{number}", b"")
    both[0].write("/again", b"")
    for fs in both:
        fs.shutdown()
    first, second = (path.read_text() for path in logs)
    assert '"/of-0"' in first
    assert '"/again"' in first
    assert "/of-1" not in first
    assert '"/of-1"' in second
    assert len(second.splitlines()) == 1


def test_25_an_end_without_shutdown_is_quiet_and_keeps_everything(place, run_script):
    done = run_script(
        f"""
        from brimfs.compat.memfs import MemFileSystem
        kept = MemFileSystem(1000, persist_path={str(place)!r}, storage_mode="persist")
        kept.write("/a", "x")
        temp = MemFileSystem(1000, persist_path={str(place) + "-temp"!r})
        temp.write("/a", "x")
        gone = MemFileSystem(1000, persist_path={str(place) + "-gone"!r})
        del gone
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "a").read_text() == "x"
    assert not place.with_name("place-temp").exists()
    assert not place.with_name("place-gone").exists()
