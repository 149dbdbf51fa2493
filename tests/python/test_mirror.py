"""Filesystems that mirror a tree of the host: plain files under the same names."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

import brimfs

LIMIT = "64MiB"


@pytest.fixture
def place(tmp_path):
    place = tmp_path / "tree"
    (place / "deep" / "er").mkdir(parents=True)
    (place / "a.txt").write_text("hello")
    (place / "deep" / "er" / "b.bin").write_bytes(bytes(range(256)) * 10_000)
    return place


def opened(place, **keywords):
    return brimfs.FileSystem(place, layout="mirror", memory_limit=LIMIT, **keywords)


def test_a_tree_is_opened_as_it_is_and_changed(place):
    with opened(place) as fs:
        assert fs.read_text("/a.txt") == "hello"
        assert fs.read_bytes("/deep/er/b.bin") == bytes(range(256)) * 10_000
        fs.write_text("/a.txt", "changed")
        fs.mkdir("/new")
        fs.write_text("/new/c.txt", "c")
        fs.remove("/deep/er/b.bin")
        fs.set_priority("/a.txt", 8)
    assert (place / "a.txt").read_text() == "changed"
    assert (place / "new" / "c.txt").read_text() == "c"
    assert not (place / "deep" / "er" / "b.bin").exists()
    with opened(place, on_external_change="raise") as fs:
        assert fs.get_priority("/a.txt") == 8
        assert sorted(fs.listdir("/")) == ["a.txt", "deep", "new"]


def test_what_others_did_is_taken(place):
    with opened(place) as fs:
        (place / "a.txt").write_text("by somebody else")
        assert fs.read_text("/a.txt") == "by somebody else"
        (place / "added").write_text("new")
        found = fs.refresh()
        assert (found.changed, found.added, found.removed, found.lost) == (0, 1, 0, 0)
        assert fs.external_changes().changed == 1
        assert fs.read_text("/added") == "new"


@pytest.mark.parametrize(
    ("before", "after"),
    [(5, 17), (17, 5), (5, 1_500_000), (1_500_000, 2_700_000), (2_700_000, 1_500_000)],
)
def test_a_whole_read_has_the_length_that_others_gave_the_file(place, before, after):
    (place / "a.txt").write_bytes(b"1" * before)
    with opened(place) as fs:
        (place / "a.txt").write_bytes(b"2" * after)
        assert fs.read_bytes("/a.txt") == b"2" * after
        (place / "a.txt").write_bytes(b"3" * before)
        fs.refresh()
        assert fs.read_text("/a.txt") == "3" * before


def test_memory_wins_where_it_is_told_to(place):
    with opened(place, on_external_change="keep") as fs:
        fs.write_text("/a.txt", "mine")
        (place / "a.txt").write_text("theirs")
        fs.sync()
        assert (place / "a.txt").read_text() == "mine"


def test_a_change_is_raised(place):
    with opened(place, on_external_change="raise") as fs:
        (place / "a.txt").write_text("theirs")
        with pytest.raises(brimfs.ExternalChange, match=r"a\.txt") as caught:
            fs.read_text("/a.txt")
        assert caught.value.errno == errno.ESTALE
        assert caught.value.filename == "/a.txt"
        with pytest.raises(brimfs.ExternalChange):
            fs.refresh()
        assert fs.refresh("reload").changed == 1
        assert fs.read_text("/a.txt") == "theirs"
    error = pickle.loads(pickle.dumps(brimfs.ExternalChange(errno.ESTALE, "text", "path")))
    assert (type(error), error.filename) == (brimfs.ExternalChange, "path")


def test_a_link_leads_nowhere(place, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("not for you")
    with opened(place) as fs:
        (place / "a.txt").unlink()
        os.symlink(secret, place / "a.txt")
        try:
            found = fs.read_text("/a.txt")
        except OSError:
            found = ""
        assert found != "not for you"
        fs.refresh()
        assert fs.readlink("/a.txt") == str(secret)
    assert secret.read_text() == "not for you"


def test_layouts_and_words_are_checked(place, tmp_path):
    opened(place).close()
    with pytest.raises(ValueError, match="mirror"):
        brimfs.FileSystem(place, memory_limit=LIMIT)
    with pytest.raises(ValueError, match="layout should be"):
        brimfs.FileSystem(place, layout="tree")
    with pytest.raises(ValueError, match="needs a store"):
        brimfs.FileSystem(layout="mirror")
    with pytest.raises(ValueError, match="on_external_change should be"):
        brimfs.FileSystem(place, layout="mirror", on_external_change="ask")
    store = tmp_path / "store"
    brimfs.FileSystem(store, memory_limit=LIMIT).close()
    with pytest.raises(ValueError, match="segments"):
        opened(store)
    with opened(place, read_only=True) as fs, pytest.raises(brimfs.ReadOnly):
        fs.write_text("/a.txt", "x")


def facts(place):
    """All that the host says of a tree, but for side data and the root's own times."""
    found = {}
    for top, directories, files in os.walk(place):
        directories[:] = [name for name in directories if name != ".brimfs"]
        for name in [*directories, *files]:
            path = os.path.join(top, name)
            about = os.lstat(path)
            data = None if os.path.isdir(path) else open(path, "rb").read()
            key = (about.st_ino, about.st_mode, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
            found[os.path.relpath(path, place)] = (key, data)
    return found


def test_a_directory_that_memfs_kept_opens_unchanged(tmp_path):
    """Plain files under their own names, written in place, without anything beside them."""
    place = tmp_path / "memfs_data"
    kept = {
        "rel.txt": b"by a path without a slash",
        "project/src/main.py": b"print('hello')\n",
        "project/data/blob.bin": bytes(range(256)) * 12_000,
        "project/empty": b"",
        "project/cut off by a crash": b"short",
        "a/b/a/b": b"names that repeat",
        "glob[1]*?.txt": b"a name is no pattern",
        "unicode-\u00e9\u4e2d.txt": "text \u00e9".encode(),
        ".hidden": b"dot names are names",
    }
    for name, data in kept.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    before = facts(place)
    for keywords in [{"read_only": True}, {}, {"on_external_change": "raise"}]:
        with opened(place, **keywords) as fs:
            found = {
                os.path.join(top, name).lstrip("/")
                for top, _, names in fs.walk("/")
                for name in names
            }
            assert found == set(kept)
            for name, data in kept.items():
                assert fs.read_bytes(f"/{name}") == data
                assert fs.get_priority(f"/{name}") == 5
            changes = fs.external_changes()
            assert (changes.changed, changes.added, changes.removed, changes.lost) == (0, 0, 0, 0)
        assert facts(place) == before
    with opened(place) as fs:
        fs.write_bytes("/project/src/main.py", b"print('changed')\n")
        fs.mkdir("/new")
        fs.write_bytes("/new/file", b"new")
    after = facts(place)
    changed = {name for name in after if after[name] != before.get(name)}
    # The directory of a file that is replaced has other times.
    assert changed == {"project/src", "project/src/main.py", "new", "new/file"}
    assert (place / "project/src/main.py").read_bytes() == b"print('changed')\n"
    assert set(before) - set(after) == set()


def test_a_file_where_the_side_directory_is_to_be_is_refused(tmp_path):
    (tmp_path / ".brimfs").write_text("somebody's")
    with pytest.raises(OSError, match=r"\.brimfs"):
        opened(tmp_path)
    assert (tmp_path / ".brimfs").read_text() == "somebody's"
