"""Files and directories of `brim://`, call by call."""

from __future__ import annotations

import os
import pickle
import zipfile
from datetime import UTC, datetime, timedelta

import fsspec
import pytest
from fsspec.generic import rsync

import brimfs
import brimfs.fsspec
from brim_calls import refused, staged

# whole files


def test_what_was_written_whole_is_the_same_object(brim):
    content = os.urandom(3_000_000)
    brim.pipe_file("brim://s/a", content)
    assert brim.cat_file("brim://s/a") is content
    assert brim.cat("brim://s/a") is content
    assert brim.read_bytes("s/a") is content


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 3), (2, None), (None, 4), (-3, None), (None, -3), (-5, -2), (8, 100), (5, 2), (-100, 2)],
)
def test_parts_are_what_slices_are(brim, start, end):
    brim.pipe_file("s/a", b"0123456789")
    assert brim.cat_file("s/a", start, end) == b"0123456789"[start:end]


def test_a_part_of_what_was_spilled_brings_that_part_back(brim, spilling):
    brimfs.fsspec.register("cold", spilling)
    content = os.urandom(1 << 20) * 8
    with brim.open("cold/a", "wb") as file:
        for start in range(0, len(content), 1 << 20):
            file.write(bytearray(content[start : start + (1 << 20)]))
    spilling.gc(0)
    cold = spilling.stats()
    assert cold.cold_bytes >= len(content)
    assert brim.cat_file("cold/a", 5_000_000, 5_000_100) == content[5_000_000:5_000_100]
    assert 0 < spilling.stats().disk_read - cold.disk_read < 2 << 20
    brimfs.fsspec.clear()


def test_many_ranges_at_once(brim):
    brim.pipe({"s/a": b"0123456789", "t/b": b"abcdefghij"})
    paths = ["brim://s/a", "brim://t/b", "brim://s/a", "brim://s/none"]
    found = brim.cat_ranges(paths, [0, 2, -2, 0], [2, 4, None, 1])
    assert found[:3] == [b"01", b"cd", b"89"]
    assert isinstance(found[3], FileNotFoundError)
    with pytest.raises(FileNotFoundError, match="brim://s/none"):
        brim.cat_ranges(paths, 0, 1, on_error="raise")


def test_creating_refuses_what_exists(brim):
    brim.pipe_file("s/d/a", b"old")
    refused(FileExistsError, brim.pipe_file, "s/d/a", b"new", mode="create", path="s/d/a")
    assert brim.cat_file("s/d/a") == b"old"
    brim.pipe_file("s/new/b", b"new", mode="create")
    assert brim.cat_file("s/new/b") == b"new"
    assert staged("s") == []
    with pytest.raises(ValueError):
        brim.pipe_file("s/a", b"", mode="truncate")


def test_creating_over_the_quota_leaves_nothing(brim):
    small = fsspec.filesystem("brim", quota="1MiB")
    content = bytes(2 << 20)
    refused(brimfs.QuotaExceeded, small.pipe_file, "q/a", content, path="q/a")
    refused(brimfs.QuotaExceeded, small.pipe_file, "q/a", content, mode="create", path="q/a")
    with small.open("q/b", "wb", autocommit=False) as file:
        refused(brimfs.QuotaExceeded, file.write, content, path="q/b")
    file.discard()
    with small.open("q/b", "wb") as file:
        refused(brimfs.QuotaExceeded, file.write, content, path="q/b")
    small.rm("q/b")
    assert small.ls("q") == []
    assert brimfs.fsspec.store("q").stats().quota_used == 0


def test_pipe_takes_every_buffer(brim):
    for value in (bytearray(b"abc"), memoryview(b"abc")):
        brim.pipe_file("s/a", value)
        assert brim.cat_file("s/a") == b"abc"
    with pytest.raises(TypeError):
        brim.pipe_file("s/a", "text")


def test_touch_empties_or_changes_times(brim):
    brim.pipe_file("s/a", b"abc")
    before = brim.modified("s/a")
    brim.touch("s/a", truncate=False)
    assert brim.cat_file("s/a") == b"abc"
    assert brim.modified("s/a") >= before
    brim.touch("s/a")
    assert brim.size("s/a") == 0
    brim.touch("s/new/b", truncate=False)
    assert brim.isfile("s/new/b")


def test_head_tail_and_blocks(brim):
    brim.pipe_file("s/a", b"one\ntwo\nthree\n")
    assert brim.head("s/a", 3) == b"one"
    assert brim.tail("s/a", 6) == b"three\n"
    assert brim.read_block("s/a", 2, 4, b"\n") == b"two\n"
    assert brim.read_block("s/a", 0, None) == b"one\ntwo\nthree\n"


# handles


def test_modes(brim):
    with brim.open("s/d/a", "xb") as file:
        file.write(b"abc")
    refused(FileExistsError, brim.open, "s/d/a", "xb", path="s/d/a")
    with brim.open("s/d/a", "ab") as file:
        file.write(b"def")
    with brim.open("s/d/a", "r+b") as file:
        file.seek(1)
        file.write(b"B")
        file.seek(0)
        assert file.read() == b"aBcdef"
    with brim.open("s/d/a", "w+b") as file:
        file.write(b"new")
        file.seek(0)
        assert file.read() == b"new"
    with brim.open("s/other/a", "ab") as file:
        file.write(b"appended")
    assert brim.cat_file("s/other/a") == b"appended"
    refused(FileNotFoundError, brim.open, "s/none", "r+b", path="s/none")
    refused(FileNotFoundError, brim.open, "s/none", "rb", path="s/none")
    with pytest.raises(ValueError):
        brim.open("s/a", "qb")


def test_text(brim):
    with brim.open("s/a", "w", encoding="utf-16", newline="\r\n") as file:
        file.write("ä\nb\n")
    assert brim.cat_file("s/a").decode("utf-16") == "ä\r\nb\r\n"
    with brim.open("s/a", "rt", encoding="utf-16") as file:
        assert list(file) == ["ä\n", "b\n"]
    brim.write_text("s/b", "text")
    assert brim.read_text("s/b") == "text"


def test_compression(brim):
    with brim.open("s/a.gz", "wb", compression="infer") as file:
        file.write(b"x" * 10_000)
    assert brim.size("s/a.gz") < 1000
    with fsspec.open("brim://s/a.gz", "rt", compression="infer") as file:
        assert file.read() == "x" * 10_000


def test_what_a_file_tells(brim):
    brim.pipe_file("s/d/a", b"one\ntwo\n")
    with brim.open("brim://s/d/a") as file:
        assert (file.path, file.full_name, file.mode) == ("s/d/a", "brim://s/d/a", "rb")
        assert file.fs is brim
        assert file.read(2) == b"on"
        assert (file.size, file.tell()) == (8, 2)
        assert file.info()["size"] == 8
        assert file.readable()
        assert not file.writable()
        assert file.seekable()
        assert not file.closed
        assert list(file) == [b"e\n", b"two\n"]
        buffer = bytearray(3)
        file.seek(0)
        assert file.readinto(buffer) == 3
        assert buffer == b"one"
        with pytest.raises(AttributeError):
            file.nothing  # noqa: B018
    assert file.closed
    with pytest.raises(ValueError):
        file.read()


def test_an_open_file_stops_nobody(brim):
    """No file lock unless one is asked for."""
    brim.pipe_file("s/a", b"old")
    with brim.open("s/a") as file:
        brim.pipe_file("s/a", b"new")
        brim.rm("s/a")
        assert not brim.exists("s/a")
        file.read()
    with brim.open("s/a", "wb") as file:
        file.write(b"part")
        assert brim.cat_file("s/a") in (b"", b"part")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_file_that_is_dropped_is_closed(brim):
    file = brim.open("s/a", "wb")
    file.write(b"a")
    assert brimfs.fsspec.store("s").stats().open_handles == 1
    del file
    assert brim.open("s/a").read() == b"a"
    assert brim.open("s/a").readlines() == [b"a"]
    assert brimfs.fsspec.store("s").stats().open_handles == 0


def test_a_lock_can_be_asked_for(brim):
    with brim.open("s/a", "wb", lock="auto"):
        error = refused(OSError, brim.open, "s/a", "rb", lock="auto", lock_timeout=0, path="s/a")
        assert isinstance(error, BlockingIOError)
    with brim.open("s/b", "wb", priority=9) as file:
        file.write(b"b")
    assert brimfs.fsspec.store("s").get_priority("/b") == 9


def test_an_open_file_pickles_with_its_position(brim):
    brim.pipe_file("s/a", b"abcdef")
    with brim.open("s/a") as file:
        file.read(2)
        with pickle.loads(pickle.dumps(file)) as other:
            assert other.read() == b"cdef"
    with brim.open("s/a", "wb") as file, pytest.raises(TypeError, match="brim://s/a"):
        pickle.dumps(file)


# transactions


def test_a_transaction_shows_everything_at_its_end(brim):
    brim.pipe_file("s/old", b"old")
    with brim.transaction:
        brim.pipe_file("s/d/new", b"new")
        brim.pipe_file("brim://t/new", b"new")
        with brim.open("s/old", "ab") as file:
            file.write(b" and more")
        with brim.open("s/text", "w") as file:
            file.write("text")
        brim.touch("s/touched")
        assert brim.find("s") == ["s/old"]
        assert brim.ls("s", detail=False) == ["s/old"]
        assert brim.cat_file("s/old") == b"old"
    assert brim.find("") == ["s/d/new", "s/old", "s/text", "s/touched", "t/new"]
    assert brim.cat_file("s/old") == b"old and more"
    assert staged("s") == staged("t") == []


def test_a_transaction_that_fails_shows_nothing(brim):
    brim.pipe_file("s/old", b"old")
    with pytest.raises(IsADirectoryError, match=r"'brim://s/late'$"), brim.transaction:
        brim.pipe_file("s/late", b"late")
        brim.mkdir("s/late")
    brim.rmdir("s/late")
    with pytest.raises(ZeroDivisionError), brim.transaction:
        brim.pipe_file("s/old", b"new")
        brim.pipe_file("s/d/new", b"new")
        raise ZeroDivisionError
    assert brim.find("s", withdirs=True) == ["s", "s/old"]
    assert brim.cat_file("s/old") == b"old"
    assert staged("s") == []
    brim.pipe_file("s/after", b"visible")
    assert brim.exists("s/after")


def test_a_file_that_is_written_aside(brim):
    brim.pipe_file("s/a", b"old")
    file = brim.open("s/a", "wb", autocommit=False)
    assert not file.autocommit
    file.write(b"new")
    file.close()
    assert brim.cat_file("s/a") == b"old"
    file.commit()
    assert brim.cat_file("s/a") == b"new"
    file = brim.open("s/b", "wb", autocommit=False)
    file.discard()
    file.discard()
    assert not brim.exists("s/b")
    refused(IsADirectoryError, brim.open, "s", "wb", autocommit=False, path="s/")
    with pytest.raises(ValueError):
        brim.open("s/b", "wqb", autocommit=False)
    assert staged("s") == []


def test_a_new_file_that_is_written_aside_replaces_nothing(brim):
    file = brim.open("s/a", "xb", autocommit=False)
    file.write(b"late")
    brim.pipe_file("s/a", b"first")
    refused(FileExistsError, file.commit, path="s/a")
    file.discard()
    assert brim.cat_file("s/a") == b"first"
    assert staged("s") == []
    refused(FileExistsError, brim.open, "s/a", "xb", autocommit=False, path="s/a")


# looking


def test_ls(tree):
    assert tree.ls("s", detail=False) == ["s/a", "s/d", "s/g.txt"]
    assert [info["name"] for info in tree.ls("brim://s/d/")] == ["s/d/b", "s/d/c.txt", "s/d/e"]
    for info in tree.ls("s"):
        assert info == tree.info(info["name"])
    assert tree.ls("s/a", detail=False) == ["s/a"]
    assert tree.ls("s/a") == [tree.info("s/a")]
    tree.mkdir("s/empty")
    assert tree.ls("s/empty") == []
    refused(FileNotFoundError, tree.ls, "s/none", path="s/none")
    refused(NotADirectoryError, tree.ls, "s/a/b", path="s/a/b")


def test_info(tree):
    info = tree.info("brim://s/d/c.txt")
    assert (info["name"], info["size"], info["type"]) == ("s/d/c.txt", 7, "file")
    assert {"created", "mtime", "mode", "ino", "nlink", "islink"} <= info.keys()
    assert tree.info("s/d")["type"] == "directory"
    assert tree.info("s") | {"name": "s", "size": 0, "type": "directory"} == tree.info("s")
    assert tree.info("brim://")["type"] == "directory"
    assert tree.sizes(["s/a", "s/g.txt"]) == [1, 5]
    assert tree.du("s") == 1 + 3 + 7 + 9 + 5
    refused(FileNotFoundError, tree.info, "s/none", path="s/none")
    refused(NotADirectoryError, tree.info, "s/a/b", path="s/a/b")


def test_find_walk_and_glob(tree):
    assert tree.find("s") == ["s/a", "s/d/b", "s/d/c.txt", "s/d/e/f.txt", "s/g.txt"]
    assert tree.find("s", maxdepth=1) == ["s/a", "s/g.txt"]
    assert tree.find("s/d", withdirs=True) == ["s/d", "s/d/b", "s/d/c.txt", "s/d/e", "s/d/e/f.txt"]
    assert tree.find("s/a") == ["s/a"]
    assert tree.find("s/none") == []
    assert tree.find("s", detail=True)["s/d/b"]["size"] == 3
    assert list(tree.walk("s")) == [
        ("s", ["d"], ["a", "g.txt"]),
        ("s/d", ["e"], ["b", "c.txt"]),
        ("s/d/e", [], ["f.txt"]),
    ]
    assert [path for path, _, _ in tree.walk("s", topdown=False)] == ["s/d/e", "s/d", "s"]
    assert [path for path, _, _ in tree.walk("s", maxdepth=2)] == ["s", "s/d"]
    assert tree.glob("brim://s/**/*.txt") == ["s/d/c.txt", "s/d/e/f.txt", "s/g.txt"]
    assert tree.glob("s/*") == ["s/a", "s/d", "s/g.txt"]
    assert tree.glob("s/[ag]*") == ["s/a", "s/g.txt"]
    assert tree.glob("s/*/") == ["s/d"]
    assert tree.glob("*/g.*") == ["s/g.txt"]
    assert tree.glob("s/none*") == tree.glob("none/*") == []


def test_a_walk_can_be_cut_short(tree):
    seen = []
    for path, dirs, _ in tree.walk("s"):
        seen.append(path)
        dirs.clear()
    assert seen == ["s"]
    with pytest.raises(FileNotFoundError, match="brim://s/none"):
        list(tree.walk("s/none", on_error="raise"))
    errors = []
    assert list(tree.walk("s/none", on_error=errors.append)) == []
    assert len(errors) == 1
    with pytest.raises(ValueError):
        list(tree.walk("s", maxdepth=0))


def test_a_deep_tree_is_walked_and_removed(brim):
    path = "s/" + "/".join("d" for _ in range(2000))
    brim.makedirs(path)
    assert sum(1 for _ in brim.walk("s")) == 2001
    brim.rm("s/d", recursive=True)
    assert brim.find("s", withdirs=True) == ["s"]


def test_links_are_told_and_not_followed(tree):
    native = brimfs.fsspec.store("s")
    native.symlink("/d", "/d/loop")
    native.symlink("/a", "/link")
    native.symlink("nowhere", "/broken")
    assert tree.info("s/link") | {"type": "file", "size": 1, "islink": True} == tree.info("s/link")
    assert tree.info("s/link")["destination"] == "/a"
    assert tree.info("s/d/loop")["type"] == "directory"
    assert tree.info("s/broken")["type"] == "other"
    assert tree.islink("s/broken")
    assert not tree.exists("s/broken")
    assert tree.lexists("s/broken")
    assert tree.cat_file("s/link") == b"a"
    assert [path for path, _, _ in tree.walk("s")] == ["s", "s/d", "s/d/e"]
    assert tree.ls("s", detail=False) == [info["name"] for info in tree.ls("s")]
    tree.rm("s/d/loop", recursive=True)
    assert tree.exists("s/d/b")


def test_existence(tree):
    assert tree.exists("brim://s/d/b")
    assert tree.exists("s")
    assert tree.exists("brim://")
    assert not tree.exists("s/none")
    assert not tree.exists("none")
    assert not tree.exists("none/a")
    assert tree.isdir("s")
    assert tree.isdir("")
    assert tree.isdir("s/d")
    assert not tree.isdir("s/a")
    assert not tree.isdir("none")
    assert tree.isfile("s/a")
    assert not tree.isfile("s/d")
    assert not tree.isfile("")
    assert not tree.isfile("s/a/b")


def test_times(brim):
    begin = datetime.now(tz=UTC) - timedelta(seconds=1)
    brim.pipe_file("s/a", b"one")
    first = brim.modified("s/a")
    assert begin < first < datetime.now(tz=UTC) + timedelta(seconds=1)
    brim.pipe_file("s/a", b"two")
    assert brim.modified("s/a") >= first
    assert brim.created("s/a").tzinfo is UTC


def test_checksums_change_with_every_change(brim):
    seen = set()
    for content in (b"one", b"two", b"one", b"one"):
        brim.pipe_file("s/a", content)
        seen.add((brim.checksum("s/a"), brim.ukey("s/a")))
    brimfs.fsspec.store("s").utime("/a", (1, 1))
    seen.add((brim.checksum("s/a"), brim.ukey("s/a")))
    brim.rm("s/a")
    brim.pipe_file("s/a", b"one")
    seen.add((brim.checksum("s/a"), brim.ukey("s/a")))
    assert len({checksum for checksum, _ in seen}) == len({key for _, key in seen}) == 6
    assert brim.checksum("s/a") == brim.checksum("brim://s/a")
    brim.cat_file("s/a")
    assert (brim.checksum("s/a"), brim.ukey("s/a")) in seen


# what stands on it


def test_a_mapper(brim):
    mapper = fsspec.get_mapper("brim://s/map")
    mapper["a/b"] = b"value"
    mapper.setitems({"c": b"1", "d": b"2"})
    assert sorted(mapper) == ["a/b", "c", "d"]
    assert mapper.getitems(["c", "d"]) == {"c": b"1", "d": b"2"}
    del mapper["c"]
    assert "c" not in mapper
    with pytest.raises(KeyError):
        mapper["c"]
    mapper.clear()
    assert list(mapper) == []


def test_local_files(brim, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(bytes(5_000_000))
    brim.put(str(tmp_path / "d"), "brim://s/d", recursive=True)
    assert brim.size("s/d/a") == 5_000_000
    brim.get("brim://s/d", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out" / "a").read_bytes() == bytes(5_000_000)


def test_other_filesystems_of_fsspec_on_top(brim):
    with fsspec.open("brim://s/a.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.txt", "text")
    with fsspec.open("zip://x.txt::brim://s/a.zip", "rt") as file:
        assert file.read() == "text"
    with fsspec.open("simplecache::brim://s/a.zip") as file:
        assert file.read() == brim.cat_file("s/a.zip")
    rsync("brim://s", "brim://t/copy")
    assert brim.find("t") == ["t/copy/a.zip"]
    below = fsspec.filesystem("dir", path="t/copy", fs=brim)
    below.pipe_file("d/b", b"b")
    assert below.find("") == ["a.zip", "d/b"]
    assert [file.path for file in fsspec.open_files("brim://*/*.zip")] == ["s/a.zip"]
