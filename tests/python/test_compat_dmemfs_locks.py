"""File locks of dmemfs: who waits for whom, and who does not."""

from __future__ import annotations

import functools
import threading
import time

import pytest

import brimfs
from brimfs.compat.dmemfs import MemoryFileSystem
from cold import audit


@pytest.fixture
def mfs():
    mfs = MemoryFileSystem(default_lock_timeout=0.05)
    mfs.import_tree({"/a": b"content", "/d/b": b"", "/other": b""})
    return mfs


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.001)


@pytest.mark.parametrize("held", ["rb", "wb", "ab", "r+b"])
@pytest.mark.parametrize("wanted", ["rb", "wb", "ab", "r+b"])
@pytest.mark.parametrize("timeout", [None, 0.0, -1, 0.01])
def test_who_excludes_whom(mfs, held, wanted, timeout):
    with mfs.open("/a", held):
        if held == wanted == "rb":
            mfs.open("/a", wanted, 0, timeout).close()
        else:
            with pytest.raises(BlockingIOError) as caught:
                mfs.open("/a", wanted, 0, timeout)
            assert caught.value.filename == "/a"
    mfs.open("/a", wanted).close()


def test_a_writer_that_gets_no_lock_leaves_the_content(mfs):
    with mfs.open("/a"):
        with pytest.raises(BlockingIOError):
            mfs.open("/a", "wb")
        assert mfs.get_size("/a") == 7


@pytest.mark.parametrize("mode", ["rb", "r+b"])
@pytest.mark.parametrize(
    "change",
    [
        lambda mfs: mfs.remove("/d/b"),
        lambda mfs: mfs.rename("/d/b", "/c"),
        lambda mfs: mfs.move("/d", "/new/c"),
        lambda mfs: mfs.rename("/d", "/c"),
        lambda mfs: mfs.rmtree("/d"),
        lambda mfs: mfs.import_tree({"/d/b": b"x", "/new": b""}),
    ],
)
def test_what_is_open_is_not_taken_away(mfs, mode, change):
    before = mfs.stats()
    with mfs.open("/d/b", mode), pytest.raises(BlockingIOError):
        change(mfs)
    assert mfs.stats() == before
    change(mfs)


def test_what_asks_nothing_of_locks_sees_the_writer(mfs):
    with mfs.open("/a", "wb") as file:
        file.write(b"12")
        assert mfs.get_size("/a") == 2
        assert mfs.stat("/a")["generation"] == 2
        assert mfs.exists("/a")
        assert mfs.listdir("/") == ["a", "d", "other"]
        assert mfs.glob("/*") == ["/a", "/d", "/other"]
        assert len(list(mfs.walk())) == 2
        mfs.mkdir("/x")


def test_the_lock_is_handed_to_who_waits(mfs):
    file = mfs.open("/a", "wb")
    read = []

    def wait():
        with mfs.open("/a", lock_timeout=60) as waiting:
            read.append(waiting.read())

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    node = mfs._tree.get("/a")
    wait_until(lambda: node.waiters and len(node.waiters) == 3)
    file.write(b"new")
    file.close()
    for thread in threads:
        thread.join()
    assert read == [b"new"] * 3
    assert not node.is_open()


def test_a_stream_of_readers_does_not_overtake_a_writer(mfs):
    reader = mfs.open("/a")
    done = []

    def write():
        with mfs.open("/a", "wb", lock_timeout=60):
            done.append("writer")

    def read():
        with mfs.open("/a", lock_timeout=60):
            done.append("reader")

    node = mfs._tree.get("/a")
    threads = []
    for number, target in enumerate((write, read), 1):
        threads.append(threading.Thread(target=target))
        threads[-1].start()
        wait_until(lambda number=number: node.waiters and len(node.waiters) == number)
    reader.close()
    for thread in threads:
        thread.join()
    assert done == ["writer", "reader"]


def test_a_default_of_none_waits_for_ever():
    mfs = MemoryFileSystem(default_lock_timeout=None)
    file = mfs.open("/a", "wb")
    node = mfs._tree.get("/a")
    thread = threading.Thread(target=lambda: mfs.open("/a").close())
    thread.start()
    wait_until(lambda: node.waiters)
    file.close()
    thread.join()


def test_a_reader_never_sees_a_preallocation(mfs):
    with mfs.open("/a"), pytest.raises(BlockingIOError):
        mfs.open("/a", "rb", 100)
    with mfs.open("/a", "rb", 100) as file:
        mfs.open("/a").close()
        with pytest.raises(BlockingIOError):
            mfs.open("/a", "ab")
        assert len(file.read()) == 100


def test_many_threads_change_one_filesystem(monkeypatch):
    # Else what earlier tests left to the garbage collector would count for this one's memory too.
    own = functools.partial(brimfs.FileSystem, budget=brimfs.Budget(1 << 30))
    monkeypatch.setattr(brimfs, "FileSystem", own)
    mfs = MemoryFileSystem(default_lock_timeout=60)
    mfs.mkdir("/d")
    mfs.import_tree({"/shared": b""})
    errors = []

    def work(number):
        try:
            for turn in range(40):
                with mfs.open(f"/d/{number}", "wb") as file:
                    file.write(b"x" * turn)
                    file.write(b"y")
                with mfs.open("/shared", "ab") as file:
                    file.write(b"z")
                mfs.rename(f"/d/{number}", f"/d/{number}n")
                mfs.copy(f"/d/{number}n", f"/d/{number}")
                mfs.remove(f"/d/{number}n")
                mfs.glob("/d/*")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert mfs.get_size("/shared") == 2000
    mfs.rmtree("/d")
    mfs.remove("/shared")
    assert (mfs.stats()["used_bytes"], mfs.stats()["file_count"]) == (0, 0)
    # What the threads had lent to them comes back when the system has ended them too.
    audit(mfs._tree.core)
