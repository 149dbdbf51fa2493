"""Directories of `brim://`, and what removes, copies and moves."""

from __future__ import annotations

import os

import fsspec
import pytest

import brimfs
import brimfs.fsspec
from brim_calls import refused, staged

# directories


def test_directories(brim):
    brim.mkdir("s/a/b")
    assert brim.isdir("s/a/b")
    refused(FileExistsError, brim.mkdir, "s/a/b", path="s/a/b")
    refused(FileNotFoundError, brim.mkdir, "s/x/y", create_parents=False, path="s/x/y")
    refused(FileNotFoundError, brim.mkdir, "new/x", create_parents=False, path="new/x")
    refused(FileExistsError, brim.makedirs, "s/a", path="s/a")
    brim.makedirs("s/a", exist_ok=True)
    brim.makedirs("s/c/d/e", exist_ok=True)
    brim.pipe_file("s/f", b"")
    refused(NotADirectoryError, brim.makedirs, "s/f/g", path="s/f/g")
    refused(FileExistsError, brim.makedirs, "s/f", exist_ok=True, path="s/f")
    refused(OSError, brim.rmdir, "s/a", path="s/a")
    brim.rmdir("s/a/b")
    assert not brim.exists("s/a/b")
    refused(NotADirectoryError, brim.rmdir, "s/f", path="s/f")
    refused(FileNotFoundError, brim.rmdir, "s/none", path="s/none")


def test_errors_name_the_path(tree):
    refused(FileNotFoundError, tree.cat_file, "s/none", path="s/none")
    refused(FileNotFoundError, tree.cat, "s/none*", path="s/none*")
    refused(IsADirectoryError, tree.cat_file, "s/d", path="s/d")
    refused(IsADirectoryError, tree.open, "brim://s/d", "wb", path="s/d")
    refused(IsADirectoryError, tree.pipe_file, "s/d", b"", path="s/d")
    refused(NotADirectoryError, tree.pipe_file, "s/a/b", b"", path="s/a/b")
    refused(NotADirectoryError, tree.open, "s/a/b", "wb", path="s/a/b")
    refused(FileNotFoundError, tree.cp_file, "s/none", "s/x", path="s/none")
    refused(FileNotFoundError, tree.copy, "s/none", "s/x", path="s/none")
    refused(FileNotFoundError, tree.mv, "s/none", "s/x", path="s/none")
    refused(FileNotFoundError, tree.rm, "s/none", path="s/none")
    refused(FileNotFoundError, tree.rm, "s/none*", path="s/none*")
    refused(FileNotFoundError, tree.modified, "s/none", path="s/none")
    refused(FileNotFoundError, tree.checksum, "s/none", path="s/none")
    refused(IsADirectoryError, tree.rm_file, "s/d", path="s/d")
    refused(brimfs.InvalidPath, tree.cat_file, "s/../a", path="s/../a")


# removing


def test_rm(tree):
    refused(IsADirectoryError, tree.rm, "s/d", path="s/d")
    tree.rm("brim://s/a")
    tree.rm(["s/d/b", "s/d/c.txt"])
    assert tree.find("s") == ["s/d/e/f.txt", "s/g.txt"]
    tree.rm("s/d", recursive=True)
    assert tree.ls("s", detail=False) == ["s/g.txt"]
    tree.rm("s/*.txt")
    assert tree.ls("s") == []


def test_rm_of_patterns_and_depths(tree):
    tree.rm("s/*", recursive=True)
    assert tree.find("s", withdirs=True) == ["s"]
    tree.pipe_file("s/d/e/f", b"")
    refused(OSError, tree.rm, "s/d", recursive=True, maxdepth=1, path="s/d/e")
    assert tree.exists("s/d/e/f")


# copying and moving


def test_a_copy_shares_content(brim):
    brim.pipe_file("s/a", bytes(3 << 20))
    used = brimfs.fsspec.store("s").stats().quota_used
    brim.copy("brim://s/a", "brim://s/new/b")
    brim.cp_file("s/a", "s/c")
    assert brimfs.fsspec.store("s").stats().quota_used == used
    with brim.open("s/c", "r+b") as file:
        file.write(b"changed")
    assert brim.cat_file("s/a") == brim.cat_file("s/new/b") == bytes(3 << 20)
    refused(IsADirectoryError, brim.cp_file, "s/a", "s/new", path="s/new")


def test_a_copy_overwrites_and_makes_directories(tree):
    tree.cp_file("s/a", "s/g.txt")
    assert tree.cat_file("s/g.txt") == b"a"
    tree.cp_file("s/d", "s/again")
    assert tree.isdir("s/again")
    tree.copy("s/d", "s/again", recursive=True)
    assert tree.find("s/again") == ["s/again/d/b", "s/again/d/c.txt", "s/again/d/e/f.txt"]


@pytest.mark.parametrize("size", [5, 3_000_000])
def test_between_stores(brim, size):
    content = os.urandom(size)
    brim.pipe_file("s/d/a", content)
    brim.copy("s/d/a", "t/x/a")
    assert brim.cat_file("t/x/a") == brim.cat_file("s/d/a") == content
    brim.mv("brim://s/d", "brim://u/d", recursive=True)
    assert brim.find("u") == ["u/d/a"]
    assert brim.cat_file("u/d/a") == content
    assert not brim.exists("s/d")
    assert staged("t") == staged("u") == []


def test_a_copy_to_another_store_that_fails_leaves_nothing(brim):
    brim.pipe_file("s/a", bytes(3_000_000))
    small = fsspec.filesystem("brim", quota="1MiB")
    small.mkdir("small")
    with pytest.raises(brimfs.QuotaExceeded):
        brim.copy("s/a", "small/a")
    assert brim.ls("small") == staged("small") == []
    assert brimfs.fsspec.store("small").stats().quota_used == 0


def test_mv_renames(tree):
    inode = tree.info("s/a")["ino"]
    tree.mv("brim://s/a", "brim://s/new/b")
    assert tree.info("s/new/b")["ino"] == inode
    tree.mv("s/new/b", "s/d")
    assert tree.info("s/d/b")["ino"] == inode
    tree.mv("s/d", "s/moved", recursive=True)
    assert tree.find("s/moved") == ["s/moved/b", "s/moved/c.txt", "s/moved/e/f.txt"]
    tree.mv("s/moved/b", "s/g.txt")
    assert tree.info("s/g.txt")["ino"] == inode
    tree.mv("s/g.txt", "s/g.txt")
    assert tree.info("s/g.txt")["ino"] == inode
    tree.mv("s/g.txt", "s/dir/")
    assert tree.find("s/dir") == ["s/dir/g.txt"]
    refused(OSError, tree.mv, "s/moved", "s/moved/e", path="s/moved")
    assert not tree.exists("s/moved/e/moved")
    tree.mv("s/moved/*.txt", "s/texts/")
    assert tree.find("s/texts") == ["s/texts/c.txt"]


def test_a_move_of_what_is_not_there_changes_nothing(tree):
    before = tree.find("s", withdirs=True)
    refused(FileNotFoundError, tree.mv, "s/none", "s/new/x", path="s/none")
    refused(FileNotFoundError, tree.mv, "s/none", "s/none", path="s/none")
    refused(FileNotFoundError, tree.mv, "s/none", "s/d", path="s/none")
    assert tree.find("s", withdirs=True) == before
