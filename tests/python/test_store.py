"""Filesystems that are kept in a directory: what was there is there again."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import random
import sys
import threading
import time
from pathlib import Path

import pytest

import brimfs
from cold import KIB, MIB, audit, content, fill

LIMIT = "64MiB"


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def opened(store, **keywords):
    return brimfs.FileSystem(store, memory_limit=LIMIT, **keywords)


def tree(fs):
    """Everything that can be told of every node."""
    told = {}
    for top, dirs, files in fs.walk("/"):
        for name in [*dirs, *files, "."]:
            path = f"{top}/{name}"
            stat = fs.lstat(path)
            told[path] = (
                stat.st_ino,
                stat.st_mode,
                stat.st_nlink,
                stat.st_uid,
                stat.st_gid,
                stat.st_size,
                stat.st_mtime_ns,
                stat.st_ctime_ns,
                fs.readlink(path) if fs.is_symlink(path) else None,
            )
            if fs.is_file(path) and not fs.is_symlink(path):
                told[path] += (
                    fs.read_bytes(path),
                    fs.get_priority(path),
                    fs.is_pinned(path),
                    {name: fs.getxattr(path, name) for name in fs.listxattr(path)},
                )
    return told


def plant(fs):
    fs.mkdir("/a/b/c", parents=True)
    fs.write_text("/a/text", "grüße\n" * 100)
    for number, size in enumerate([0, 1, 22, 128, 4 * KIB, 64 * KIB + 1, MIB, 3 * MIB + 17]):
        fs.write_bytes(f"/a/b/{size}", content(number, size), priority=number + 1)
    with fs.open("/a/b/sparse", "wb") as file:
        file.seek(2 * MIB)
        file.write(b"end")
    for number in range(50):
        fs.write_bytes(f"/a/b/c/{number}", b"%d" % number)
    for number in range(0, 50, 3):
        fs.remove(f"/a/b/c/{number}")
    fs.rename("/a/b/c/1", "/one")
    fs.link("/one", "/a/uno")
    fs.symlink("../one", "/a/link")
    fs.symlink(b"nowhere/\xff", b"/a/\xff")
    fs.chmod("/one", 0o4711)
    fs.chmod("/a", 0o700)
    fs.chown("/one", 7, 8)
    fs.utime("/one", ns=(5_000_000_007, -3_000_000_001))
    fs.setxattr("/one", "user.x", b"value\0")
    fs.pin("/a/text")


def test_everything_comes_back(store):
    with opened(store) as fs:
        plant(fs)
        before = tree(fs)
        times = fs.stat("/one")
        assert fs.stat("/one").st_nlink == 2
    for _ in range(3):
        with opened(str(store)) as fs:
            assert tree(fs) == before
            assert fs.read_text("/a/text") == "grüße\n" * 100
            assert fs.read_bytes("/a/link") == b"1"
            assert fs.readlink(b"/a/\xff") == b"nowhere/\xff"
            assert fs.stat("/one").st_mtime_ns == times.st_mtime_ns == -3_000_000_001
            assert fs.stats().files == sum(len(files) for _, _, files in fs.walk("/")) - 3
            audit(fs)


def test_what_was_hot_stays_after_opening(store):
    names = {kind: [f"/{kind}{n}" for n in range(24)] for kind in ("hot", "cold")}
    scanned = [f"/scanned{n}" for n in range(300)]
    small = {"memory_limit": "24MiB", "disk_limit": "256MiB", "durability": "manual"}
    with brimfs.FileSystem(store, **small) as fs:
        for path in [*names["hot"], *names["cold"], *scanned]:
            fs.write_bytes(path, content(1, 64 * KIB))
    with brimfs.FileSystem(store, **small) as fs:
        for path in names["hot"] * 12:
            fs.read_bytes(path)
        assert fs.explain("/hot0").accesses == 10
    for _ in range(2):
        with brimfs.FileSystem(store, **small) as fs:
            assert (fs.explain("/hot0").accesses, fs.explain("/cold0").accesses) == (10, 0)
    with brimfs.FileSystem(store, **small) as fs:
        for path in [*names["hot"], *names["cold"], *scanned]:
            fs.read_bytes(path)
        stayed = {
            kind: sum(fs.explain(path).resident_units for path in names[kind]) for kind in names
        }
        assert stayed == {"hot": 24, "cold": 0}
        assert fs.explain("/hot0").priority_counted == 6


def test_changes_of_parts_come_back(store):
    oracle = bytearray(content(1, 6 * MIB))
    with opened(store) as fs:
        fs.write_bytes("/f", bytes(oracle))
    chance = random.Random(5)
    for _ in range(6):
        with opened(store) as fs, fs.open("/f", "r+b") as file:
            at = chance.randrange(len(oracle))
            piece = chance.randbytes(chance.choice([5, 5000, MIB + 3]))
            file.seek(at)
            file.write(piece)
            oracle[at : at + len(piece)] = piece
            if chance.random() < 0.5:
                end = chance.randrange(MIB, len(oracle))
                file.truncate(end)
                del oracle[end:]
        with opened(store) as fs:
            assert fs.read_bytes("/f") == oracle


@pytest.mark.parametrize("durability", ["sync", "manual", 0.01, 1, 1e9])
def test_every_durability_keeps_everything_at_closing(store, durability):
    with opened(store, durability=durability) as fs:
        plant(fs)
        with fs.open("/a/log", "a") as log:
            for number in range(20):
                log.write(f"{number}\n")
                log.flush()
        fs.append_bytes("/a/log", b"end\n")
        fs.truncate("/one", 0)
        fs.copytree("/a", "/copy")
        fs.rmtree("/a/b")
        before = tree(fs)
    with opened(store) as fs:
        assert tree(fs) == before


@pytest.mark.parametrize(
    ("durability", "error"),
    [
        (0, ValueError),
        (0.0, ValueError),
        (-1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (10**400, ValueError),
        ("often", ValueError),
        ("", ValueError),
        (True, TypeError),
        (None, TypeError),
        (b"sync", TypeError),
        ([1], TypeError),
    ],
)
def test_wrong_durabilities(store, durability, error):
    allowed = "'sync', 'manual' or a number of seconds above 0"
    with pytest.raises(error, match=allowed):
        opened(store, durability=durability)
    assert not store.exists()


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"store": 5}, TypeError, "store should be a path"),
        ({"store": True}, TypeError, "store should be a path"),
        ({"read_only": True}, ValueError, "read_only needs a store"),
        ({"store": "x", "budget": brimfs.Budget("64MiB")}, ValueError, "memory_limit"),
        ({"store": "x", "spill_dir": "/tmp"}, ValueError, "leave spill_dir out"),
        ({"store": "x", "spill_dir": False}, ValueError, "leave spill_dir out"),
        ({"store": "x", "memory_limit": "1MiB"}, ValueError, "1048576"),
        ({"store": "a\0b"}, brimfs.InvalidPath, "NUL"),
    ],
)
def test_what_does_not_go_together(tmp_path, monkeypatch, keywords, error, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        brimfs.FileSystem(**keywords)


def test_a_volatile_filesystem_takes_the_words_of_a_store():
    with brimfs.FileSystem(None, memory_limit=LIMIT, durability="manual") as fs:
        fs.write_bytes("/a", b"x")
        fs.sync()
        with fs.open("/a", "rb") as file:
            file.sync()


def test_places_that_are_none(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for place, keywords, number in [
        ("no/store", {}, errno.ENOENT),
        ("none", {"read_only": True}, errno.ENOENT),
        ("empty", {"read_only": True}, errno.ENOENT),
        ("file", {}, errno.ENOTDIR),
    ]:
        store = tmp_path / place
        with pytest.raises(OSError) as caught:
            opened(store, **keywords)
        assert caught.value.errno == number
        assert caught.value.filename == str(store)
    assert os.listdir(tmp_path / "empty") == []


def test_what_is_more_than_the_limits_is_refused_and_stays(store):
    with opened(store) as fs:
        fs.write_bytes("/a", content(1, 5000))
    with pytest.raises(brimfs.QuotaExceeded) as caught:
        opened(store, quota=4000)
    assert caught.value.filename == str(store)
    with pytest.raises(brimfs.NodeLimitExceeded):
        opened(store, max_nodes=1)
    with opened(store, quota=5000, max_nodes=2) as fs:
        assert fs.read_bytes("/a") == content(1, 5000)


def test_a_store_is_open_once(store):
    fs = opened(store)
    with pytest.raises(brimfs.StoreInUse, match="this process has it open") as caught:
        opened(store)
    assert caught.value.errno == errno.EBUSY
    assert caught.value.filename == str(store)
    with pytest.raises(brimfs.StoreInUse):
        opened(store, read_only=True)
    fs.close()
    opened(store).close()


def test_who_has_a_store_open_is_named(store, run_script):
    with opened(store):
        done = run_script(
            f"""
            import brimfs
            try:
                brimfs.FileSystem({str(store)!r}, memory_limit="64MiB")
            except brimfs.StoreInUse as error:
                print(error)
            """
        )
    assert f"process {os.getpid()}, which runs since" in done.stdout, done.stderr
    assert repr(str(store)) in done.stdout


CHANGES = {
    "write_bytes": lambda fs: fs.write_bytes("/a", b"y"),
    "write_text": lambda fs: fs.write_text("/new", "y"),
    "append_bytes": lambda fs: fs.append_bytes("/a", b"y"),
    "truncate": lambda fs: fs.truncate("/a", 0),
    "open wb": lambda fs: fs.open("/a", "wb"),
    "open r+b": lambda fs: fs.open("/a", "r+b"),
    "open a": lambda fs: fs.open("/a", "a"),
    "open x": lambda fs: fs.open("/new", "x"),
    "mkdir": lambda fs: fs.mkdir("/new"),
    "rmdir": lambda fs: fs.rmdir("/d"),
    "rmtree": lambda fs: fs.rmtree("/d"),
    "remove": lambda fs: fs.remove("/a"),
    "rename": lambda fs: fs.rename("/a", "/new"),
    "replace": lambda fs: fs.replace("/a", "/new"),
    "move": lambda fs: fs.move("/a", "/d"),
    "copy": lambda fs: fs.copy("/a", "/new"),
    "copytree": lambda fs: fs.copytree("/d", "/new"),
    "link": lambda fs: fs.link("/a", "/new"),
    "symlink": lambda fs: fs.symlink("a", "/new"),
    "touch": lambda fs: fs.touch("/a"),
    "chmod": lambda fs: fs.chmod("/a", 0o600),
    "chown": lambda fs: fs.chown("/a", 1, 1),
    "utime": lambda fs: fs.utime("/a"),
    "setxattr": lambda fs: fs.setxattr("/a", "user.x", b""),
    "removexattr": lambda fs: fs.removexattr("/a", "user.y"),
}


def test_reading_only(store):
    with opened(store) as fs:
        fs.write_bytes("/a", b"x")
        fs.mkdir("/d")
        fs.setxattr("/a", "user.y", b"")
    known = {name: (store / name).read_bytes() for name in os.listdir(store)}
    with opened(store, read_only=True) as fs, opened(store, read_only=True) as other:
        for name, change in CHANGES.items():
            with pytest.raises(OSError) as caught:
                change(fs)
            assert type(caught.value) is brimfs.ReadOnly, name
            assert caught.value.errno == errno.EROFS, name
            assert caught.value.filename, name
        fs.sync()
        assert fs.read_bytes("/a") == other.read_bytes("/a") == b"x"
        assert fs.listdir("/") == ["a", "d"]
        with fs.open("/a", "rb") as file:
            file.sync()
        with pytest.raises(brimfs.StoreInUse, match="open elsewhere"):
            opened(store)
        # Worth is no content: it may be said, and is forgotten.
        fs.set_priority("/a", 9)
    assert {name: (store / name).read_bytes() for name in os.listdir(store)} == known
    with opened(store) as fs:
        assert fs.get_priority("/a") == 5


def test_synced_without_being_closed(store, tmp_path):
    with opened(store, durability="manual") as fs:
        fs.write_bytes("/a", content(1, 100_000))
        with fs.open("/b", "wb") as file:
            file.write(content(2, 3 * MIB))
            file.flush()
            file.sync()
            fs.mkdir("/later")
            with opened(copied(store, tmp_path / "first")) as found:
                assert found.read_bytes("/a") == content(1, 100_000)
                assert found.read_bytes("/b") == content(2, 3 * MIB)
                assert not found.exists("/later")
        fs.sync()
        with opened(copied(store, tmp_path / "second")) as found:
            assert found.is_dir("/later")


def copied(store: Path, to: Path) -> Path:
    """The files of a store as they are now, as a program that dies now leaves them."""
    to.mkdir()
    for name in os.listdir(store):
        (to / name).write_bytes((store / name).read_bytes())
    return to


def test_each_call_is_durable(store, tmp_path):
    calls = [
        lambda fs: fs.write_bytes("/a", b"x"),
        lambda fs: fs.write_bytes("/a", content(1, 5000)),
        lambda fs: fs.write_bytes("/a", bytearray(content(2, 200_000))),
        lambda fs: fs.write_text("/t", "text"),
        lambda fs: fs.append_bytes("/a", b"end"),
        lambda fs: fs.truncate("/a", 100),
        lambda fs: fs.write_bytes("/a", b"p", priority=3),
        lambda fs: fs.open("/o", "wb").close(),
        lambda fs: fs.mkdir("/d/e", parents=True),
        lambda fs: fs.rename("/o", "/d/o"),
        lambda fs: fs.copy("/a", "/d/copy"),
        lambda fs: fs.copytree("/d", "/dd"),
        lambda fs: fs.link("/a", "/l"),
        lambda fs: fs.symlink("a", "/s"),
        lambda fs: fs.chmod("/a", 0o600),
        lambda fs: fs.chown("/a", 5, 6),
        lambda fs: fs.utime("/a", ns=(1, 2)),
        lambda fs: fs.touch("/new"),
        lambda fs: fs.setxattr("/a", "user.x", b"1"),
        lambda fs: fs.removexattr("/a", "user.x"),
        lambda fs: fs.set_priority("/a", 7),
        lambda fs: fs.pin("/a"),
        lambda fs: fs.unpin("/a"),
        lambda fs: fs.remove("/l"),
        lambda fs: fs.rmdir("/d/e"),
        lambda fs: fs.rmtree("/dd"),
        lambda fs: fs.open("/a", "wb").close(),
    ]
    with opened(store, durability="sync") as fs:
        for number, call in enumerate(calls):
            call(fs)
            with opened(copied(store, tmp_path / str(number))) as found:
                assert tree(found) == tree(fs), number
        with fs.open("/a", "r+b") as file:
            file.write(b"abc")
            file.truncate(2)
            with opened(copied(store, tmp_path / "handle")) as found:
                assert found.read_bytes("/a") == b"ab"


@pytest.mark.parametrize("round_", range(20))
def test_copies_that_are_made_while_a_commit_writes(store, round_):
    """What was captured of the original is no copy of the file that shares its bytes by then."""
    with opened(store, durability=0.001) as fs:
        fs.mkdir("/a")
        for number in range(30):
            fs.write_bytes(f"/a/{number}", content(number, 5000 + number * 999))
        fs.copytree("/a", "/b")
        fs.rmtree("/a")
    with opened(store) as fs:
        for number in range(30):
            assert fs.read_bytes(f"/b/{number}") == content(number, 5000 + number * 999)


def test_more_than_memory_holds(store):
    with brimfs.FileSystem(store, memory_limit="16MiB") as fs:
        fill(fs, 60, MIB + 5000)
        assert fs.stats().resident <= 16 * MIB
        assert fs.stats().cold_files > 30
    for _ in range(2):
        with brimfs.FileSystem(store, memory_limit="16MiB") as fs:
            for number in random.Random(3).sample(range(60), 60):
                assert fs.read_bytes(f"/f{number}") == content(number, MIB + 5000)
            assert fs.stats().resident <= 16 * MIB
            fs.write_bytes("/f0", content(0, MIB + 5000))


@pytest.mark.parametrize("durability", ["sync", 0.005, "manual"])
def test_many_threads_write_and_sync(store, durability):
    count = 6 if durability == "sync" else 60
    errors = []

    def work(fs, index):
        try:
            fs.mkdir(f"/{index}")
            for number in range(count):
                path = f"/{index}/{number}"
                fs.write_bytes(path, content(number, (number * 997) % 70_000))
                with fs.open(f"/{index}/log", "ab") as log:
                    log.write(b"%d\n" % number)
                    if number % 10 == index:
                        log.sync()
                if number % 7 == 0:
                    fs.sync()
                if number % 5 == 4:
                    fs.remove(f"/{index}/{number - 1}")
        except BaseException as error:
            errors.append(error)

    with opened(store, durability=durability) as fs:
        threads = [threading.Thread(target=work, args=(fs, index)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        before = tree(fs)
        audit(fs)
    with opened(store) as fs:
        assert tree(fs) == before
        for index in range(8):
            assert fs.read_bytes(f"/{index}/log") == b"".join(b"%d\n" % n for n in range(count))


def test_others_go_on_while_one_makes_its_calls_durable(store):
    """Who needs the interpreter gets it while another thread is in nothing but synced calls."""
    switch = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    rounds = [0]
    seen = []

    def write():
        seen.append(rounds[0])
        for number in range(200):
            fs.write_bytes(f"/{number % 3}", b"x")
        seen.append(rounds[0])

    try:
        with opened(store, durability="sync") as fs:
            thread = threading.Thread(target=write)
            thread.start()
            while thread.is_alive():
                rounds[0] += 1
                time.sleep(0)
    finally:
        sys.setswitchinterval(switch)
    # In an hour nobody is made to give the interpreter up: it was given up in the waits.
    assert seen[1] > seen[0]


def test_a_file_keeps_its_filesystem_open(store):
    file = opened(store).open("/a", "wb")
    gc.collect()
    file.write(b"kept")
    with pytest.raises(brimfs.StoreInUse):
        opened(store)
    file.close()
    with opened(store) as fs:
        assert fs.read_bytes("/a") == b"kept"


def test_what_nobody_closes_is_closed_when_it_goes(store):
    fs = opened(store, durability="manual")
    fs.write_bytes("/a", b"kept")
    del fs
    gc.collect()
    with opened(store) as fs:
        assert fs.read_bytes("/a") == b"kept"


def test_closing_ends_everything(store):
    fs = opened(store)
    file = fs.open("/a", "wb")
    fs.close()
    fs.close()
    for call in (fs.sync, file.sync, lambda: file.write(b"x"), fs.__enter__):
        with pytest.raises(ValueError, match="closed"):
            call()
    file.close()
    opened(store).close()


def test_an_exception_in_a_with_statement_loses_nothing(store):
    with pytest.raises(KeyError), opened(store, durability="manual") as fs:
        fs.write_bytes("/a", b"kept")
        raise KeyError
    with opened(store) as fs:
        assert fs.read_bytes("/a") == b"kept"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs limits of the system")
def test_a_disk_that_takes_no_more(store, run_script):
    done = run_script(
        f"""
        import resource, signal
        import brimfs

        fs = brimfs.FileSystem({str(store)!r}, memory_limit="64MiB", durability="manual")
        fs.write_bytes("/a", b"kept")
        fs.sync()
        fs.write_bytes("/b", bytes(3_000_000))
        # No file may grow from here on.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        for call in (fs.sync, fs.close):
            try:
                call()
                print("no error")
            except OSError as error:
                print(type(error).__name__, error.errno > 0, error.filename == {str(store)!r})
        print(fs.closed)
        """
    )
    assert done.stdout.splitlines() == ["OSError True True"] * 2 + ["True"], done.stderr
    with opened(store) as fs:
        assert fs.read_bytes("/a") == b"kept"
        assert fs.listdir("/") == ["a"]


def test_what_it_says_of_itself(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with brimfs.FileSystem("./store", quota="64MiB") as fs:
        assert repr(fs) == "<brimfs.FileSystem './store' 0 files, 0 B of 64.0 MiB>"
    assert repr(fs) == "<brimfs.FileSystem './store', closed>"
    with opened(store, read_only=True) as fs:
        assert repr(fs) == f"<brimfs.FileSystem {store!r} read-only 0 files, 0 B>".replace(
            repr(store), repr(str(store))
        )


def test_it_cannot_be_pickled_or_copied(store):
    with opened(store) as fs:
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(fs)
        for way in (copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot copy"):
                way(fs)
        error = pickle.loads(pickle.dumps(brimfs.StoreInUse(errno.EBUSY, "text", "path")))
        assert (type(error), error.filename) == (brimfs.StoreInUse, "path")
