"""Every known defect of dmemfs 0.4.1, by its number on the list: brimfs does not have it."""

from __future__ import annotations

import errno
import inspect
import io
import os
import threading
import time
import zipfile

import pytest

from brimfs.compat import dmemfs
from brimfs.compat.dmemfs import MemoryFileSystem, MFSQuotaExceededError, MFSTextHandle


@pytest.fixture
def mfs():
    return MemoryFileSystem(1 << 20, default_lock_timeout=0.02)


def put(mfs, path, *pieces):
    with mfs.open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)


def test_01_nobody_waits_for_who_waits_for_a_file(mfs):
    file = mfs.open("/a", "wb")
    thread = threading.Thread(target=lambda: mfs.open("/a", lock_timeout=60).close())
    thread.start()
    node = mfs._tree.get("/a")
    while not node.waiters:
        time.sleep(0.001)
    # The lock of the tree is free while the other one waits.
    assert mfs.exists("/a")
    mfs.mkdir("/d")
    put(mfs, "/d/b", b"x")
    assert thread.is_alive()
    file.close()
    thread.join()


def test_02_a_copy_of_a_file_that_one_writes_is_an_error_and_no_deadlock(mfs):
    mfs.import_tree({"/d/a": b"x"})
    before = mfs.stats()
    with mfs.open("/d/a", "r+b"):
        for call in (
            lambda: mfs.copy("/d/a", "/b"),
            lambda: mfs.copy_tree("/d", "/e"),
            lambda: mfs.export_as_bytesio("/d/a"),
            lambda: mfs.export_tree(),
            lambda: next(mfs.iter_export_tree()),
        ):
            with pytest.raises(BlockingIOError):
                call()
    assert mfs.stats() == before
    assert mfs.export_tree() == {"/d/a": b"x"}


@pytest.mark.parametrize("way", ["rename", "move"])
def test_03_no_directory_goes_into_itself(mfs, way):
    mfs.import_tree({"/d/e/a": b"x"})
    before = mfs.stats()
    for dst in ("/d/x", "/d/e/x"):
        with pytest.raises(OSError) as caught:
            getattr(mfs, way)("/d", dst)
        assert caught.value.errno == errno.EINVAL
        assert (caught.value.filename, caught.value.filename2) == ("/d", dst)
    with pytest.raises(OSError):
        mfs.move("/d", "/d/new/er/x")
    assert mfs.stats() == before
    assert mfs.export_tree() == {"/d/e/a": b"x"}


@pytest.mark.parametrize("path", ["/d", "/", "", "//"])
def test_04_an_import_replaces_no_directory(mfs, path):
    mfs.import_tree({"/d/a": b"x"})
    before = mfs.stats()
    with pytest.raises(IsADirectoryError):
        mfs.import_tree({"/new": b"", path: b"y"})
    assert mfs.stats() == before
    assert mfs.listdir("/") == ["d"]


def test_05_no_internal_error_comes_out(mfs):
    mfs.import_tree({"/f": b"", "/g": b"", "/d/x": b""})
    for call in (
        lambda: mfs.move("/g", "/f/x"),
        lambda: mfs.move("/g", "/f/x/y"),
        lambda: mfs.import_tree({"/f/x": b""}),
        lambda: mfs.import_tree({"/f/x/y": b""}),
        lambda: mfs.import_tree({"/n": b"", "/n/m": b""}),
        lambda: mfs.import_tree({"/n/m/o": b"", "/n": b""}),
    ):
        with pytest.raises(NotADirectoryError):
            call()
    for call in (lambda: mfs.rmtree("//"), lambda: mfs.rename("//", "/x")):
        with pytest.raises(ValueError):
            call()
    assert next(mfs.walk("//")) == ("/", ["d"], ["f", "g"])
    assert mfs.stats()["file_count"] == 3


def test_06_the_ledger_does_not_drift(mfs):
    put(mfs, "/a", *[b"x"] * 100)
    mfs.copy("/a", "/b")
    mfs.remove("/a")
    mfs.remove("/b")
    assert mfs.stats()["used_bytes"] == 0
    flat = MemoryFileSystem(default_storage="random_access")
    for _ in range(10):
        flat.import_tree({"/a": b"12345"})
    flat.copy("/a", "/b")
    flat.remove("/a")
    assert flat.stats()["used_bytes"] == 5
    flat.remove("/b")
    assert flat.stats()["used_bytes"] == 0


def test_07_a_random_write_that_fails_costs_nothing():
    mfs = MemoryFileSystem(2200)
    put(mfs, "/a", b"x" * 1000)
    with mfs.open("/a", "r+b") as file:
        for _ in range(5):
            file.seek(0)
            with pytest.raises(MFSQuotaExceededError):
                file.write(b"y" * 2500)
            assert mfs.stats()["used_bytes"] == 1128
    assert mfs.export_tree() == {"/a": b"x" * 1000}


def test_08_what_fails_leaves_no_empty_file():
    mfs = MemoryFileSystem(1000)
    put(mfs, "/a", b"x" * 500)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("big", bytes(5000))
    for call in (
        lambda: mfs.copy("/a", "/b"),
        lambda: mfs.open("/b", "wb", preallocate=5000),
        lambda: mfs.open("/b", "xb", preallocate=5000),
        lambda: dmemfs.expand_archive_streaming(mfs, buffer),
        lambda: mfs.import_tree({"/b": bytes(5000)}),
    ):
        with pytest.raises(MFSQuotaExceededError):
            call()
        assert mfs.listdir("/") == ["a"]
    # One that was there stays, with what it had.
    with pytest.raises(MFSQuotaExceededError):
        mfs.open("/a", "ab", preallocate=5000)
    assert mfs.export_tree() == {"/a": b"x" * 500}


def test_09_a_pattern_finds_each_path_once(mfs):
    mfs.import_tree({"/a/b/c.py": b"", "/d.py": b""})
    for pattern in ("/**/*.py", "/**", "/**/**", "/**/b/**"):
        found = mfs.glob(pattern)
        assert len(found) == len(set(found)) > 0


def test_10_a_tree_has_no_depth_that_is_too_deep(mfs):
    depth = 3000
    path = "/d" * depth
    mfs.import_tree({f"{path}/file": b"x"})
    assert sum(1 for _ in mfs.walk()) == depth + 1
    assert mfs.export_tree() == {f"{path}/file": b"x"}
    mfs.copy_tree("/d", "/copy")
    mfs.rename("/d", "/e")
    assert mfs.stats()["dir_count"] == 2 * depth + 1
    mfs.rmtree("/e")
    mfs.rmtree("/copy")
    assert mfs.stats()["used_bytes"] == 0


def test_11_lines_are_not_read_byte_by_byte(mfs):
    lines = ["x" * 79 + "\n"] * 5000
    put(mfs, "/a", "".join(lines).encode())
    calls = []
    handle = mfs.open("/a")
    core_read = handle._at
    handle._at = lambda position: calls.append(position) or core_read(position)
    assert list(MFSTextHandle(handle)) == lines
    assert not calls
    handle.seek(0)
    assert sum(1 for _ in handle) == 5000
    # One call of the core for a line.
    assert len(calls) <= 5001
    handle.close()


def test_12_small_appends_take_the_memory_of_their_bytes():
    mfs = MemoryFileSystem(1 << 24)
    with mfs.open("/a", "wb") as file:
        for _ in range(50_000):
            file.write(b"x")
    # They are charged for, as ever.
    assert mfs.stats()["used_bytes"] == 50_000 * 129
    assert mfs._tree.core.stats().quota_used == 50_000


def test_13_bombs_and_names_that_are_twice_in_an_archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"first")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"second")
    mfs = MemoryFileSystem()
    assert dmemfs.expand_archive_streaming(mfs, buffer, on_conflict="skip") == 1
    assert mfs.export_tree() == {"/a": b"first"}
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(20_000_000))
    small = MemoryFileSystem(1000)
    for expand in (dmemfs.expand_archive, dmemfs.expand_archive_streaming):
        with pytest.raises(MFSQuotaExceededError):
            expand(small, bomb)


def test_14_no_preallocation_under_a_shared_lock(mfs):
    put(mfs, "/a", b"x")
    with mfs.open("/a") as reader:
        with pytest.raises(BlockingIOError):
            mfs.open("/a", "rb", preallocate=100)
        assert reader.read() == b"x"


def test_15_every_error_says_where(mfs):
    mfs.import_tree({"/f": b"", "/d/x": b""})
    held = mfs.open("/f")
    for call, kind, number in (
        (lambda: mfs.open("/n"), FileNotFoundError, errno.ENOENT),
        (lambda: mfs.open("/n/m", "wb"), FileNotFoundError, errno.ENOENT),
        (lambda: mfs.open("/d"), IsADirectoryError, errno.EISDIR),
        (lambda: mfs.open("/f", "xb"), FileExistsError, errno.EEXIST),
        (lambda: mfs.open("/f", "wb"), BlockingIOError, errno.EAGAIN),
        (lambda: mfs.remove("/f"), BlockingIOError, errno.EAGAIN),
        (lambda: mfs.listdir("/f"), NotADirectoryError, errno.ENOTDIR),
        (lambda: mfs.open("/f", "rb", 1 << 30, 0.0), BlockingIOError, errno.EAGAIN),
        (lambda: mfs.import_tree({"/q": bytes(1 << 21)}), MFSQuotaExceededError, errno.ENOSPC),
        (lambda: mfs.open("/q", "wb", 1 << 30), MFSQuotaExceededError, errno.ENOSPC),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert caught.value.errno == number
        assert caught.value.filename in ("/n", "/n/m", "/d", "/f", "/q")
    held.close()
    with mfs.open("/q", "wb") as file, pytest.raises(MFSQuotaExceededError) as caught:
        file.write(bytes(1 << 21))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/q")


def test_16_directories_are_made_all_or_not_at_all():
    mfs = MemoryFileSystem(max_nodes=3)
    for call in (lambda: mfs.mkdir("/a/b/c"), lambda: mfs.import_tree({"/a/b/c": b""})):
        with pytest.raises(dmemfs.MFSNodeLimitExceededError):
            call()
        assert list(mfs.walk()) == [("/", [], [])]


@pytest.mark.parametrize("value", ["text", None, 5, [1]])
def test_17_an_import_takes_bytes(mfs, value):
    with pytest.raises(TypeError):
        mfs.import_tree({"/good": b"", "/a": value})
    assert mfs.listdir("/") == []


def test_18_a_walk_can_be_pruned_and_stats_counts_nothing(mfs):
    mfs.import_tree({"/a/x": b"", "/b/y": b"", "/c/z": b""})
    seen = []
    for here, dirs, _ in mfs.walk():
        seen.append(here)
        if here == "/":
            dirs.remove("b")
    assert seen == ["/", "/a", "/c"]
    # The counters are there: nothing is walked.
    mfs._tree.below = None
    mfs._tree.root.children = None
    assert mfs.stats()["file_count"] == 3


def test_19_reading_copies_nothing(mfs):
    content = os.urandom(200_000)
    put(mfs, "/a", content)
    with mfs.open("/a") as file:
        assert file.read() is content
    assert mfs.export_tree()["/a"] is content
    with mfs.view("/a") as view:
        assert bytes(view) == content
        put(mfs, "/a", b"changed")
        assert bytes(view) == content
    mfs.import_tree({"/empty": b""})
    assert len(mfs.view("/empty")) == 0


def test_20_a_file_can_take_the_place_of_another(mfs):
    put(mfs, "/a", b"old")
    put(mfs, "/a.tmp", b"new")
    mfs.replace("/a.tmp", "/a")
    assert mfs.export_tree() == {"/a": b"new"}
    assert "replace" in dict(inspect.getmembers(MemoryFileSystem))
