"""Directories, names, links, copies."""

from __future__ import annotations

import os
import stat
from pathlib import PurePosixPath

import pytest


def test_directories(fs):
    fs.mkdir("/a")
    assert fs.is_dir("/a")
    assert not fs.is_file("/a")
    with pytest.raises(FileExistsError):
        fs.mkdir("/a")
    fs.mkdir("/a", exist_ok=True)
    fs.write_bytes("/file", b"")
    with pytest.raises(FileExistsError):
        fs.mkdir("/file", exist_ok=True)
    with pytest.raises(FileNotFoundError):
        fs.mkdir("/b/c/d")
    fs.mkdir("/b/c/d", parents=True)
    fs.mkdir("b/c//d/", parents=True, exist_ok=True)
    with pytest.raises(FileExistsError):
        fs.mkdir("/b/c/d", parents=True)
    with pytest.raises(OSError):
        fs.rmdir("/b")
    fs.rmdir("/b/c/d")
    fs.rmtree("/b")
    assert sorted(fs.listdir("/")) == ["a", "file"]


def test_permissions_of_new_nodes(fs):
    fs.mkdir("/a", 0o750)
    assert stat.S_IMODE(fs.stat("/a").st_mode) == 0o750
    fs.mkdir("/b")
    assert stat.S_IMODE(fs.stat("/b").st_mode) == 0o755
    fs.write_bytes("/c", b"")
    assert fs.stat("/c").st_mode == stat.S_IFREG | 0o644


def test_renaming(fs):
    fs.write_bytes("/a", b"a")
    fs.rename("/a", "/b")
    assert not fs.exists("/a")
    assert fs.read_bytes("/b") == b"a"
    fs.write_bytes("/c", b"c")
    fs.replace("/b", "/c")
    assert fs.read_bytes("/c") == b"a"
    fs.mkdir("/d/e", parents=True)
    fs.write_bytes("/d/e/f", b"f")
    fs.rename("/d", "/g")
    assert fs.read_bytes("/g/e/f") == b"f"
    assert not fs.exists("/d/e/f")
    with pytest.raises(OSError) as caught:
        fs.rename("/g", "/g/e/h")
    assert caught.value.errno == 22
    assert (caught.value.filename, caught.value.filename2) == ("/g", "/g/e/h")


def test_a_path_found_before_is_not_found_after_a_move(fs):
    fs.mkdir("/a/b", parents=True)
    fs.write_bytes("/a/b/c", b"old")
    path = "/a/b/c"
    for _ in range(3):
        assert fs.exists(path)
        assert fs.read_bytes(path) == b"old"
    fs.rename("/a", "/z")
    assert not fs.exists(path)
    with pytest.raises(FileNotFoundError):
        fs.read_bytes(path)
    fs.mkdir("/a/b", parents=True)
    fs.write_bytes(path, b"new")
    assert fs.read_bytes(path) == b"new"
    assert fs.read_bytes("/z/b/c") == b"old"
    fs.remove(path)
    assert not fs.exists(path)
    fs.symlink("/z/b/c", path)
    assert fs.read_bytes(path) == b"old"


def test_move_and_copy_go_into_directories(fs):
    fs.mkdir("/dir")
    fs.write_bytes("/a", b"a")
    assert fs.copy("/a", "/b") == "/b"
    assert fs.copy("/a", "/dir") == "/dir/a"
    assert fs.copy("/a", "/dir/") == "/dir/a"
    assert fs.copy(b"/a", b"/dir/c") == b"/dir/c"
    assert fs.move("/b", "/dir") == "/dir/b"
    assert fs.move("/a", "/z") == "/z"
    assert sorted(fs.listdir("/dir")) == ["a", "b", "c"]
    assert sorted(fs.listdir("/")) == ["dir", "z"]
    assert fs.move("/dir/", "/new") == "/new"


def test_a_copy_costs_nothing_until_it_is_written(fs):
    fs.write_bytes("/a", b"x" * 5_000_000)
    fs.copy("/a", "/b")
    assert fs.stats().quota_used == 5_000_000
    with fs.open("/b", "r+b") as file:
        file.write(b"y")
    assert 5_000_000 < fs.stats().quota_used < 7_000_000
    assert fs.read_bytes("/a")[:2] == b"xx"
    assert fs.read_bytes("/b")[:2] == b"yx"


def test_copytree(fs):
    fs.mkdir("/a/b", parents=True)
    fs.write_bytes("/a/b/c", b"c" * 5000)
    fs.symlink("b/c", "/a/link")
    assert fs.copytree("/a", "/z") == "/z"
    assert fs.read_bytes("/z/b/c") == b"c" * 5000
    assert fs.readlink("/z/link") == "b/c"
    with pytest.raises(FileExistsError):
        fs.copytree("/a", "/z")
    with pytest.raises(OSError):
        fs.copytree("/a", "/a/b/inside")
    assert fs.listdir("/a/b") == ["c"]


def test_links(fs):
    fs.write_bytes("/a", b"a")
    fs.symlink("a", "/soft")
    fs.link("/a", "/hard")
    assert fs.readlink("/soft") == "a"
    assert fs.readlink(b"/soft") == b"a"
    assert fs.is_symlink("/soft")
    assert fs.is_file("/soft")
    assert not fs.is_symlink("/hard")
    assert fs.stat("/hard").st_nlink == 2
    assert fs.stat("/hard").st_ino == fs.stat("/soft").st_ino == fs.stat("/a").st_ino
    assert stat.S_ISLNK(fs.lstat("/soft").st_mode)
    assert stat.S_ISLNK(fs.stat("/soft", follow_symlinks=False).st_mode)
    assert fs.realpath("/./soft") == "/a"
    fs.remove("/a")
    assert fs.read_bytes("/hard") == b"a"
    assert not fs.exists("/soft")
    assert fs.is_symlink("/soft")
    fs.symlink("/loop", "/loop")
    assert not fs.exists("/loop")
    with pytest.raises(OSError) as caught:
        fs.read_bytes("/loop")
    assert caught.value.errno == 40


def test_touch(fs):
    fs.touch("/a")
    assert fs.read_bytes("/a") == b""
    before = fs.stat("/a").st_mtime_ns
    fs.touch("/a")
    assert fs.stat("/a").st_mtime_ns > before
    with pytest.raises(FileExistsError):
        fs.touch("/a", exist_ok=False)
    fs.touch("/b", exist_ok=False)
    assert fs.exists("/b")


def test_paths_of_every_kind(fs):
    fs.write_bytes(PurePosixPath("/a"), b"a")
    assert fs.read_bytes(b"/a") == b"a"
    assert fs.read_bytes("a") == b"a"
    fs.mkdir("/x")
    assert fs.read_bytes("./x/../a") == b"a"
    fs.write_bytes(b"/\xff\xfe", b"bytes")
    assert "\udcff\udcfe" in fs.listdir("/")
    assert b"\xff\xfe" in fs.listdir(b"/")
    assert fs.read_bytes("/\udcff\udcfe") == b"bytes"
    fs.write_bytes("/ü/".rstrip("/"), b"u")
    assert fs.read_bytes("/ü".encode()) == b"u"

    class Both(str):
        __slots__ = ()

    assert fs.read_bytes(Both("/a")) == b"a"
    assert fs.exists(Both("/a"))

    class Bad:
        def __fspath__(self):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fs.exists(Bad())
    for wrong in (5, None, 1.5, ["/a"], object()):
        with pytest.raises(TypeError):
            fs.read_bytes(wrong)
        with pytest.raises(TypeError):
            fs.exists(wrong)


def test_listing(fs):
    assert fs.listdir() == []
    for name in ("b", "a", "c"):
        fs.write_bytes(f"/{name}", name.encode())
    assert fs.listdir() == fs.listdir("/") == ["b", "a", "c"]
    assert fs.listdir(b"/") == [b"b", b"a", b"c"]
    listed = fs.listdir()
    listed.append("mine")
    assert fs.listdir() == ["b", "a", "c"]
    fs.remove("/a")
    assert fs.listdir() == ["b", "c"]
    fs.rename("/b", "/d")
    assert sorted(fs.listdir()) == ["c", "d"]
    fs.write_bytes("/c", b"again")
    assert sorted(fs.listdir()) == ["c", "d"]
    with pytest.raises(NotADirectoryError):
        fs.listdir("/c")
    with pytest.raises(FileNotFoundError):
        fs.listdir("/none")


def test_a_directory_made_again_lists_what_is_in_it_now(fs):
    for round_ in range(3):
        fs.mkdir("/d")
        fs.write_bytes(f"/d/{round_}", b"")
        assert fs.listdir("/d") == [str(round_)]
        assert fs.listdir("/d") == [str(round_)]
        fs.rmtree("/d")


def test_many_entries(fs):
    names = [f"file{number:05}" for number in range(5000)]
    for name in names:
        fs.write_bytes("/" + name, b"")
    for _ in range(2):
        assert fs.listdir("/") == names
    assert fs.stats().files == 5000


def test_scandir(fs):
    fs.mkdir("/d")
    fs.write_bytes("/f", b"12345")
    fs.symlink("d", "/link")
    fs.symlink("none", "/dangling")
    with fs.scandir("/") as entries:
        found = {entry.name: entry for entry in entries}
    assert set(found) == {"d", "f", "link", "dangling"}
    assert found["d"].is_dir()
    assert not found["d"].is_file()
    assert found["f"].is_file()
    assert found["f"].stat().st_size == 5
    assert found["f"].inode() == fs.stat("/f").st_ino
    assert found["f"].path == os.fspath(found["f"]) == "/f"
    assert found["link"].is_symlink()
    assert found["link"].is_dir()
    assert not found["link"].is_dir(follow_symlinks=False)
    assert not found["dangling"].is_file()
    assert stat.S_ISLNK(found["link"].stat(follow_symlinks=False).st_mode)
    with pytest.raises(FileNotFoundError):
        found["dangling"].stat()
    assert {entry.path for entry in fs.scandir(b"/")} == {b"/d", b"/f", b"/link", b"/dangling"}
    assert repr(found["f"]) == "<brimfs.DirEntry 'f'>"
    assert next(iter(fs.scandir("d")), None) is None


@pytest.fixture
def tree(fs, tmpfs):
    """The same tree in brimfs and in the operating system."""
    for path in ("a/b/c", "a/d", "e"):
        fs.mkdir(path, parents=True)
        (tmpfs / path).mkdir(parents=True)
    for path in ("1", "a/2", "a/b/3", "a/b/c/4", "e/5", "a/b/x.py", "e/y.py"):
        fs.write_bytes(path, b"")
        (tmpfs / path).write_bytes(b"")
    for target, path in (("a", "link"), ("../e", "a/up"), ("none", "dangling")):
        fs.symlink(target, path)
        (tmpfs / path).symlink_to(target)
    return fs, tmpfs


@pytest.mark.parametrize("topdown", [True, False])
@pytest.mark.parametrize("followlinks", [True, False])
def test_walk_is_as_os_walk(tree, topdown, followlinks):
    fs, tmpfs = tree
    ours = {
        path: (set(dirs), set(files))
        for path, dirs, files in fs.walk("/", topdown=topdown, followlinks=followlinks)
    }
    theirs = {
        "/" + os.path.relpath(path, tmpfs).removeprefix("."): (set(dirs), set(files))
        for path, dirs, files in os.walk(tmpfs, topdown=topdown, followlinks=followlinks)
    }
    assert ours == theirs
    order = [path for path, _, _ in fs.walk("/", topdown=topdown)]
    for path in order[1:] if topdown else order[:-1]:
        parent = os.path.dirname(path)
        assert (order.index(parent) < order.index(path)) is topdown


def test_walk_can_be_pruned(tree):
    fs, _ = tree
    seen = []
    for path, dirs, _ in fs.walk("a"):
        seen.append(path)
        if "b" in dirs:
            dirs.remove("b")
    assert seen == ["a", "a/d"]
    errors = []
    assert list(fs.walk("/none", onerror=errors.append)) == []
    assert isinstance(errors[0], FileNotFoundError)
    assert list(fs.walk("/none")) == []
    assert next(fs.walk(b"/"))[1]


@pytest.mark.parametrize(
    "pattern",
    ["*", "a/*", "*/*", "**/*.py", "**", "a/**/c", "?", "[1e]", "[!1e]", "a/b/[a-x].py", "none*"],
)
def test_glob_is_as_pathlib(tree, pattern):
    import glob

    fs, tmpfs = tree
    theirs = {
        "/" + path.removesuffix("/")
        for path in glob.glob(pattern, root_dir=tmpfs, recursive=True, include_hidden=True)
        if path
    }
    if "**" in pattern:
        # It follows no links here.
        theirs = {path for path in theirs if not path.startswith(("/link/", "/a/up/"))}
    ours = fs.glob("/" + pattern)
    assert ours == sorted(set(ours))
    assert set(ours) - {"/"} == theirs
    assert fs.glob(b"/a/*") == [path.encode() for path in fs.glob("/a/*")]
