"""Many threads: file locks, shared handles, one filesystem."""

from __future__ import annotations

import errno
import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import brimfs


def in_threads(count, work):
    """Run work(index) in so many threads at once; the first error is raised."""
    barrier = threading.Barrier(count)

    def run(index):
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_the_exclusive_lock_excludes(fs):
    fs.write_bytes("/counter", b"0")

    def work(_):
        for _ in range(50):
            with fs.open("/counter", "r+b") as file:
                value = int(file.read())
                file.seek(0)
                file.truncate()
                file.write(b"%d" % (value + 1))

    in_threads(8, work)
    assert fs.read_bytes("/counter") == b"400"
    assert fs.stats().open_handles == 0


def test_readers_share_the_lock(fs):
    fs.write_bytes("/a", b"x")
    barrier = threading.Barrier(4)

    def work(_):
        with fs.open("/a", "rb", lock_timeout=5) as file:
            barrier.wait(10)
            return file.read()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [b"x"] * 4


@pytest.mark.parametrize("mode", ["rb", "wb", "r+b", "ab", "r", "w"])
def test_a_lock_that_is_held_is_waited_for_or_not(fs, mode):
    fs.write_bytes("/a", b"x" * 5000)
    with fs.open("/a", "r+b"):
        with pytest.raises(BlockingIOError) as caught:
            fs.open("/a", mode, lock_timeout=0)
        assert (caught.value.errno, caught.value.filename) == (errno.EAGAIN, "/a")

        def other(_):
            with pytest.raises(brimfs.LockTimeout) as caught:
                fs.open("/a", mode, lock_timeout=0.05)
            assert isinstance(caught.value, TimeoutError)
            assert (caught.value.errno, caught.value.filename) == (errno.ETIMEDOUT, "/a")

        in_threads(1, other)
        assert fs.stats().lock_waiters == 0
        with fs.open("/a", mode, lock="none"):
            pass
    with fs.open("/a", mode, lock_timeout=0):
        pass


def test_the_timeout_of_the_filesystem_holds_for_whole_files():
    with brimfs.FileSystem(lock_timeout=0.05, memory_limit="64MiB") as fs:
        fs.write_bytes("/a", b"x" * 5000)
        with fs.open("/a", "r+b"):

            def other(_):
                for call in (
                    lambda: fs.read_bytes("/a"),
                    lambda: fs.write_bytes("/a", b"y" * 5000),
                    lambda: fs.write_bytes("/a", bytearray(5)),
                    lambda: fs.append_bytes("/a", b"y"),
                    lambda: fs.truncate("/a", 0),
                    lambda: fs.copy("/a", "/b"),
                    lambda: fs.view("/a"),
                    lambda: fs.read_text("/a"),
                ):
                    with pytest.raises(brimfs.LockTimeout) as caught:
                        call()
                    assert caught.value.filename == "/a"

            in_threads(1, other)
        assert fs.read_bytes("/a") == b"x" * 5000
        assert fs.listdir("/") == ["a"]


def test_a_timeout_of_none_waits_until_it_is_free():
    with brimfs.FileSystem(lock_timeout=None, memory_limit="64MiB") as fs:
        fs.write_bytes("/a", b"")
        held = fs.open("/a", "wb")
        waiting = ThreadPoolExecutor(1)
        future = waiting.submit(fs.read_bytes, "/a")
        while fs.stats().lock_waiters == 0:
            time.sleep(0.001)
        assert not future.done()
        held.write(b"done")
        held.close()
        assert future.result(10) == b"done"
        waiting.shutdown()


def test_waiting_for_one_file_does_not_stop_the_others(fs):
    fs.write_bytes("/held", b"")
    fs.write_bytes("/free", b"free")
    held = fs.open("/held", "wb")
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(fs.read_bytes, "/held") for _ in range(8)]
        while fs.stats().lock_waiters < 8:
            time.sleep(0.001)
        for number in range(100):
            assert fs.exists("/free")
            assert fs.read_bytes("/free") == b"free"
            fs.write_bytes(f"/new{number}", b"x")
            fs.rename(f"/new{number}", "/renamed")
        assert not any(future.done() for future in waiting)
        held.write(b"end")
        held.close()
        assert {future.result(10) for future in waiting} == {b"end"}


def test_the_error_names_the_holder(fs):
    with fs.open("/a", "wb"):

        def other(_):
            with pytest.raises(brimfs.LockTimeout) as caught:
                fs.open("/a", "rb", lock_timeout=0.01)
            return str(caught.value)

        (text,) = in_threads(1, other)
    assert "thread" in text
    assert "'/a'" in text


def test_a_handle_is_shared_by_threads_write_by_write(fs):
    with fs.open("/a", "wb") as file:

        def work(index):
            for _ in range(20):
                # Above 64 KiB a call gives the interpreter lock up.
                file.write(bytes([index]) * 100_000)
                file.write(bytes([index]) * 10)

        in_threads(4, work)
        assert file.tell() == 4 * 20 * 100_010
    content = fs.read_bytes("/a")
    runs = [len(list(run)) for _, run in itertools.groupby(content)]
    assert sum(runs) == 4 * 20 * 100_010
    assert all(run % 10 == 0 for run in runs)


def test_a_handle_is_shared_by_threads_read_by_read(fs):
    fs.write_bytes("/a", b"".join(b"%07d\n" % number for number in range(40_000)))
    with fs.open("/a", "rb") as file:

        def work(_):
            found = []
            while line := file.readline():
                found.append(line)
            return found

        lines = [line for found in in_threads(4, work) for line in found]
    assert sorted(lines) == [b"%07d\n" % number for number in range(40_000)]


def test_closing_while_another_thread_reads(fs):
    fs.write_bytes("/a", bytes(30_000_000))
    for _ in range(5):
        file = fs.open("/a", "rb")

        def work(index, file=file):
            if index == 0:
                file.close()
                return None
            try:
                return len(file.read())
            except ValueError:
                return None

        assert set(in_threads(3, work)) <= {None, 0, 30_000_000}


def test_a_storm_leaves_true_counters(fs):
    names = [f"/n{number}" for number in range(20)]
    errors = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)

    def work(index):
        dice = random.Random(index)
        for _ in range(400):
            path, other = dice.choice(names), dice.choice(names)
            try:
                match dice.randrange(12):
                    case 0:
                        fs.write_bytes(path, bytes(dice.randrange(3000)))
                    case 1:
                        fs.read_bytes(path)
                    case 2:
                        fs.remove(path)
                    case 3:
                        fs.rename(path, other)
                    case 4:
                        fs.copy(path, other)
                    case 5:
                        fs.mkdir(path)
                    case 6:
                        fs.rmtree(path)
                    case 7:
                        with fs.open(path, "ab") as file:
                            file.write(b"x" * dice.randrange(200))
                    case 8:
                        fs.listdir("/")
                    case 9:
                        fs.exists(path)
                        fs.stat(path)
                    case 10:
                        assert len(fs.view(path)) >= 0
                    case 11:
                        list(fs.walk("/"))
            except errors:
                pass
            except OSError as error:
                # EINVAL: into itself; ENOTEMPTY: others keep filling it.
                if error.errno not in (errno.EINVAL, errno.ENOTEMPTY):
                    raise

    in_threads(8, work)
    for name in fs.listdir("/"):
        if fs.is_dir(name):
            fs.rmtree(name)
        else:
            fs.remove(name)
    stats = fs.stats()
    assert (stats.quota_used, stats.nodes, stats.open_handles, stats.views) == (0, 1, 0, 0)
