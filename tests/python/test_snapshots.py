"""Snapshots, branches, `diff` and `restore`, from Python."""

import errno
import sqlite3
import threading
from pathlib import Path

import pytest

import brimfs


def test_a_snapshot_stays_what_the_filesystem_was() -> None:
    fs = brimfs.FileSystem(quota="8MiB")
    fs.mkdir("/data", parents=True)
    fs.write_bytes("/data/large", b"x" * 3_000_000)
    fs.write_text("/data/small", "before")
    used = fs.stats().quota_used
    with fs.snapshot() as before:
        assert before.is_snapshot
        assert not fs.is_snapshot
        # Shared but for the six bytes, which are copied.
        assert fs.stats().quota_used == used + 6
        fs.write_text("/data/small", "after")
        fs.remove("/data/large")
        assert before.read_text("/data/small") == "before"
        assert before.read_bytes("/data/large") == b"x" * 3_000_000
        assert fs.stats().quota_used > 3_000_000
        with before.open("/data/large", "rb") as file:
            assert file.read(3) == b"xxx"
    assert fs.stats().quota_used == len("after")


def test_what_is_private_is_given_back() -> None:
    fs = brimfs.FileSystem()
    fs.write_bytes("/a", b"x" * 3_000_000)
    assert fs.usage() == fs.usage()
    assert fs.usage()._asdict() == {"private": 3_000_000, "shared": 0}
    before = fs.snapshot()
    assert fs.usage().shared == 3_000_000
    fs.write_bytes("/a", b"y" * 100_000)
    assert before.usage().private == 3_000_000
    used = fs.stats().quota_used
    before.close()
    assert used - fs.stats().quota_used == 3_000_000
    with pytest.raises(ValueError, match="closed"):
        before.usage()


def test_nobody_writes_to_a_snapshot() -> None:
    fs = brimfs.FileSystem()
    fs.write_text("/a", "before")
    before = fs.snapshot()
    with pytest.raises(brimfs.ReadOnly) as caught:
        before.write_text("/a", "after")
    assert caught.value.errno == errno.EROFS
    assert caught.value.filename == "/a"
    with pytest.raises(brimfs.ReadOnly):
        before.open("/b", "wb")
    with pytest.raises(brimfs.ReadOnly):
        before.mkdir("/d")
    with pytest.raises(brimfs.ReadOnly):
        before.restore(before)


def test_a_branch_goes_its_own_way() -> None:
    fs = brimfs.FileSystem()
    fs.write_text("/a", "shared")
    branch = fs.branch()
    branch.write_text("/a", "of the branch")
    branch.write_text("/b", "too")
    assert fs.read_text("/a") == "shared"
    assert not fs.exists("/b")
    fs.write_text("/a", "of the filesystem")
    assert branch.read_text("/a") == "of the branch"
    assert not branch.is_snapshot
    deeper = branch.snapshot().branch()
    assert deeper.read_text("/b") == "too"


def test_diff_says_what_became() -> None:
    fs = brimfs.FileSystem()
    fs.mkdir("/d/e", parents=True)
    for name in ["kept", "changed", "gone", "moved"]:
        fs.write_text(f"/d/{name}", name)
    fs.write_text("/d/e/inner", "inner")
    before = fs.snapshot()
    assert not fs.diff(before)
    fs.write_text("/d/changed", "other")
    fs.remove("/d/gone")
    fs.rename("/d/moved", "/d/elsewhere")
    fs.rename("/d/e", "/f")
    fs.write_text("/new", "new")
    diff = fs.diff(before)
    assert diff
    assert diff.added == ("/new",)
    assert diff.changed == ("/d/changed",)
    assert diff.removed == ("/d/gone",)
    assert diff.renamed == (("/d/e", "/f"), ("/d/moved", "/d/elsewhere"))
    assert repr(diff) == "<brimfs.Diff 1 added, 1 changed, 1 removed, 2 renamed>"
    assert diff._asdict()["added"] == ("/new",)


def test_restore_takes_all_back() -> None:
    fs = brimfs.FileSystem()
    fs.mkdir("/d", parents=True)
    fs.write_text("/d/a", "before")
    fs.chmod("/d/a", 0o600)
    fs.setxattr("/d/a", "user.note", b"kept")
    before = fs.snapshot()
    modified = fs.stat("/d/a").st_mtime_ns
    file = fs.open("/d/a", "r+b", lock="none")
    file.write(b"AFTER")
    fs.rename("/d", "/e")
    fs.write_text("/new", "new")
    # Looked up before, so a cache knows what must not be true any more.
    assert fs.exists("/new")
    assert fs.exists("/e/a")
    fs.restore(before)
    assert not fs.exists("/new")
    assert not fs.exists("/e/a")
    assert fs.listdir("/") == ["d"]
    assert fs.read_text("/d/a") == "before"
    assert fs.stat("/d/a").st_mode & 0o777 == 0o600
    assert fs.stat("/d/a").st_mtime_ns == modified
    assert fs.getxattr("/d/a", "user.note") == b"kept"
    assert not fs.diff(before)
    file.seek(0)
    assert file.read() == b"before"


def test_what_is_no_snapshot_is_refused() -> None:
    fs, other = brimfs.FileSystem(), brimfs.FileSystem()
    fs.write_text("/a", "kept")
    for no_snapshot in [fs, other, other.snapshot()]:
        with pytest.raises(ValueError, match="no snapshot of this filesystem"):
            fs.diff(no_snapshot)
        with pytest.raises(ValueError, match="no snapshot of this filesystem"):
            fs.restore(no_snapshot)
    with pytest.raises(TypeError):
        fs.diff("/a")  # type: ignore[arg-type]
    closed = fs.snapshot()
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        fs.restore(closed)
    fs.close()
    with pytest.raises(ValueError, match="closed"):
        fs.snapshot()


def test_a_store_keeps_what_was_restored(tmp_path: Path) -> None:
    with brimfs.FileSystem(tmp_path / "store") as fs:
        fs.write_text("/a", "before")
        before = fs.snapshot()
        assert repr(before).startswith("<brimfs.FileSystem ")
        assert " snapshot 1 file" in repr(before)
        fs.write_text("/a", "after")
        fs.write_text("/b", "after")
        fs.restore(before)
    with brimfs.FileSystem(tmp_path / "store") as fs:
        assert fs.listdir("/") == ["a"]
        assert fs.read_text("/a") == "before"


def test_a_mirror_has_none(tmp_path: Path) -> None:
    with brimfs.FileSystem(tmp_path / "mirror", layout="mirror") as fs:
        with pytest.raises(OSError, match="no snapshots") as caught:
            fs.snapshot()
        assert caught.value.errno == errno.EOPNOTSUPP


def test_many_branches_of_a_database(tmp_path: Path) -> None:
    """A master database is made once, and each branch of it is another one."""
    path = tmp_path / "master.db"
    with sqlite3.connect(path) as database:
        database.execute("create table numbers (number integer)")
        database.executemany("insert into numbers values (?)", [(n,) for n in range(5000)])
    fs = brimfs.FileSystem()
    fs.write_bytes("/master.db", path.read_bytes())
    master = fs.snapshot()
    used = fs.stats().quota_used
    branches = [master.branch() for _ in range(20)]
    assert fs.stats().quota_used == used
    for number, branch in enumerate(branches):
        with branch.open("/master.db", "r+b") as file:
            file.seek(100 * number)
            file.write(b"changed")
    assert master.read_bytes("/master.db") == path.read_bytes()
    assert len({branch.read_bytes("/master.db") for branch in branches}) == 20


def test_snapshots_while_threads_write() -> None:
    fs = brimfs.FileSystem()
    fs.mkdir("/d", parents=True)
    over = threading.Event()

    def work(number: int) -> None:
        count = 0
        while not over.is_set():
            count += 1
            fs.write_text(f"/d/{number}-first", str(count))
            fs.write_text(f"/d/{number}-second", str(count))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            with fs.snapshot() as snapshot:
                for number in range(3):
                    if snapshot.exists(f"/d/{number}-second"):
                        first = int(snapshot.read_text(f"/d/{number}-first"))
                        assert first - int(snapshot.read_text(f"/d/{number}-second")) in (0, 1)
    finally:
        over.set()
        for thread in threads:
            thread.join()
