"""Names in dmemfs: directories, moving, walking, patterns, import and export."""

from __future__ import annotations

import errno

import pytest

from brimfs.compat.dmemfs import MemoryFileSystem


@pytest.fixture
def mfs():
    return MemoryFileSystem(max_quota=1 << 20, default_lock_timeout=0.05)


def fill(mfs, *paths):
    mfs.import_tree({path: path.encode() for path in paths})


def raises(kind, call, *arguments):
    with pytest.raises(kind) as caught:
        call(*arguments)
    if issubclass(kind, OSError):
        assert caught.value.errno is not None
        assert caught.value.filename in arguments
    return caught.value


def test_directories(mfs):
    mfs.mkdir("/a/b/c")
    mfs.mkdir("/a/b", exist_ok=True)
    mfs.mkdir("/", True)
    fill(mfs, "/f")
    raises(FileExistsError, mfs.mkdir, "/a/b")
    raises(FileExistsError, mfs.mkdir, "/")
    raises(FileExistsError, mfs.mkdir, "/f")
    raises(FileExistsError, mfs.mkdir, "/f", True)
    raises(FileExistsError, mfs.mkdir, "/f/g/h")
    assert mfs.listdir("/a") == ["b"]
    raises(FileNotFoundError, mfs.listdir, "/x")
    raises(NotADirectoryError, mfs.listdir, "/f")


def test_names_are_listed_in_order_of_creation(mfs):
    for name in "zay":
        mfs.mkdir(f"/{name}")
    mfs.import_tree({"/z1": b"", "/a1": b""})
    mfs.import_tree({"/z1": b"again"})
    assert mfs.listdir("/") == ["z", "a", "y", "z1", "a1"]


def test_removing(mfs):
    fill(mfs, "/d/a", "/d/e/b", "/f")
    raises(IsADirectoryError, mfs.remove, "/d")
    raises(FileNotFoundError, mfs.remove, "/x")
    raises(FileNotFoundError, mfs.rmtree, "/x")
    raises(NotADirectoryError, mfs.rmtree, "/f")
    for root in ("/", "//", ""):
        raises(ValueError, mfs.rmtree, root)
    mfs.remove("/f")
    mfs.rmtree("/d")
    assert list(mfs.walk()) == [("/", [], [])]
    assert mfs.stats()["used_bytes"] == 0


@pytest.mark.parametrize("way", ["rename", "move"])
def test_moving(mfs, way):
    move = getattr(mfs, way)
    fill(mfs, "/d/a", "/f")
    for root in ("/", "//"):
        raises(ValueError, move, root, "/x")
    raises(FileNotFoundError, move, "/x", "/y")
    raises(FileExistsError, move, "/f", "/d")
    raises(FileExistsError, move, "/f", "/f")
    raises(FileExistsError, move, "/f", "/")
    move("/d", "/e")
    move("/f", "/e/f")
    assert mfs.export_tree() == {"/e/a": b"/d/a", "/e/f": b"/f"}


def test_only_move_makes_parents(mfs):
    fill(mfs, "/f", "/g")
    raises(FileNotFoundError, mfs.rename, "/f", "/new/f")
    raises(FileNotFoundError, mfs.rename, "/f", "/g/f")
    mfs.move("/f", "/new/er/f")
    assert mfs.is_file("/new/er/f")
    for dst in ("/g/x", "/g/x/y"):
        raises(NotADirectoryError, mfs.move, "/new", dst)
    assert mfs.listdir("/") == ["g", "new"]


def test_a_file_takes_the_place_of_another(mfs):
    fill(mfs, "/a", "/b", "/d/c")
    mfs.replace("/a", "/b")
    mfs.replace("/b", "/new")
    mfs.replace("/new", "/new")
    assert mfs.export_tree() == {"/d/c": b"/d/c", "/new": b"/a"}
    raises(IsADirectoryError, mfs.replace, "/new", "/d")
    raises(IsADirectoryError, mfs.replace, "/d", "/e")
    with mfs.open("/d/c"):
        raises(BlockingIOError, mfs.replace, "/new", "/d/c")


def test_copying(mfs):
    fill(mfs, "/d/a", "/f")
    raises(FileNotFoundError, mfs.copy, "/x", "/y")
    raises(IsADirectoryError, mfs.copy, "/d", "/y")
    raises(FileExistsError, mfs.copy, "/f", "/d")
    raises(FileExistsError, mfs.copy, "/f", "/f")
    raises(FileNotFoundError, mfs.copy, "/f", "/x/y")
    raises(FileNotFoundError, mfs.copy, "/f", "/f/y")
    mfs.copy("/f", "/g")
    with mfs.open("/g", "r+b") as file:
        file.write(b"X")
    assert mfs.export_tree() == {"/d/a": b"/d/a", "/f": b"/f", "/g": b"Xf"}


def test_copying_trees(mfs):
    fill(mfs, "/d/a", "/d/e/b")
    mfs.mkdir("/d/empty")
    raises(FileNotFoundError, mfs.copy_tree, "/x", "/y")
    raises(NotADirectoryError, mfs.copy_tree, "/d/a", "/y")
    raises(FileExistsError, mfs.copy_tree, "/d", "/d")
    raises(FileNotFoundError, mfs.copy_tree, "/d", "/x/y")
    mfs.copy_tree("/d", "/c")
    assert list(mfs.walk("/c")) == [
        ("/c", ["e", "empty"], ["a"]),
        ("/c/e", [], ["b"]),
        ("/c/empty", [], []),
    ]
    mfs.copy_tree("/c", "/c/self")
    assert mfs.export_tree("/c/self") == {"/c/self/a": b"/d/a", "/c/self/e/b": b"/d/e/b"}
    mfs.rmtree("/c")
    mfs.rmtree("/d")
    assert (mfs.stats()["used_bytes"], mfs.stats()["dir_count"]) == (0, 1)


def test_walking(mfs):
    fill(mfs, "/b/x", "/a/y", "/top")
    assert list(mfs.walk()) == [
        ("/", ["b", "a"], ["top"]),
        ("/b", [], ["x"]),
        ("/a", [], ["y"]),
    ]
    assert next(mfs.walk("b/")) == ("/b", [], ["x"])
    lazy = mfs.walk("/none")
    with pytest.raises(FileNotFoundError):
        next(lazy)
    with pytest.raises(NotADirectoryError):
        next(mfs.walk("/top"))


def test_directories_that_go_while_walking_are_left_out(mfs):
    fill(mfs, "/a/x", "/b/y")
    walk = mfs.walk()
    next(walk)
    mfs.rmtree("/a")
    assert list(walk) == [("/b", [], ["y"])]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/*", ["/.dot", "/a", "/d"]),
        ("*", ["/.dot", "/a", "/d"]),
        ("/d/*.py", ["/d/x.py"]),
        ("/d/?.py", ["/d/x.py"]),
        ("/[ab]", ["/a"]),
        ("/[!a]", ["/d"]),
        ("/a", ["/a"]),
        ("/none", []),
        ("/", []),
        ("", []),
        ("/d/", ["/d"]),
        ("\\d\\*", ["/d/e", "/d/x.py"]),
        ("/./a", []),
        ("/d/../a", []),
        ("/{a,d}", []),
        ("/**/*.py", ["/d/e/y.py", "/d/x.py"]),
        ("/***", ["/.dot", "/a", "/d"]),
        ("/d/**", ["/d/e", "/d/e/y.py", "/d/x.py"]),
        ("/**/e/**/*.py", ["/d/e/y.py"]),
        ("/d/**/e", ["/d/e"]),
        ("**", ["/.dot", "/a", "/d", "/d/e", "/d/e/y.py", "/d/x.py"]),
        ("/a/**", []),
    ],
)
def test_patterns(mfs, pattern, found):
    fill(mfs, "/.dot", "/a", "/d/x.py", "/d/e/y.py")
    assert mfs.glob(pattern) == found


def test_exports(mfs):
    fill(mfs, "/a/x", "/ab", "/a/b/y")
    assert mfs.export_tree("/a") == {"/a/x": b"/a/x", "/a/b/y": b"/a/b/y"}
    assert mfs.export_tree("/ab") == {"/ab": b"/ab"}
    assert mfs.export_tree("/none") == {}
    assert mfs.export_tree(prefix="/", only_dirty=True) == {}
    lazy = mfs.iter_export_tree()
    assert next(lazy) == ("/a/x", b"/a/x")
    mfs.remove("/ab")
    assert dict(lazy) == {"/a/b/y": b"/a/b/y"}
    detached = mfs.export_as_bytesio("/a/x")
    detached.write(b"changed")
    assert mfs.export_as_bytesio("/a/x", max_size=4).read() == b"/a/x"
    with pytest.raises(ValueError):
        mfs.export_as_bytesio("/a/x", 3)
    raises(IsADirectoryError, mfs.export_as_bytesio, "/a")
    raises(FileNotFoundError, mfs.export_as_bytesio, "/x")


def test_imports(mfs):
    mfs.import_tree({})
    mfs.import_tree({"a/b": bytearray(b"1"), "/a//b": memoryview(b"2"), "\\c": b"3"})
    assert mfs.export_tree() == {"/a/b": b"2", "/c": b"3"}
    with pytest.raises(ValueError):
        mfs.import_tree({"/new": b"", "/../x": b""})
    with mfs.open("/c"), pytest.raises(BlockingIOError):
        mfs.import_tree({"/new": b"", "/c": b"4"})
    assert mfs.listdir("/") == ["a", "c"]


def test_an_import_that_fails_in_the_core_changes_nothing(mfs, monkeypatch):
    fill(mfs, "/a")

    class Failing:
        def __init__(self, core):
            self.core = core
            self.left = 2

        def write_bytes(self, *arguments):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.EIO, "injected")
            return self.core.write_bytes(*arguments)

        def __getattr__(self, name):
            return getattr(self.core, name)

    before = mfs.stats()
    core = mfs._tree.core
    mfs._tree.core = Failing(core)
    with pytest.raises(OSError, match="injected"):
        mfs.import_tree({"/a": b"new", "/b": b"1", "/d/c": b"2"})
    mfs._tree.core = core
    assert mfs.stats() == before
    assert mfs.export_tree() == {"/a": b"/a"}
    assert core.stats().files == 1


def test_what_was_found_before_is_not_trusted_after_it_went(mfs):
    path = "/d/e/x"
    mfs.mkdir("/d/e")
    for change in (lambda: mfs.rmtree("/d"), lambda: mfs.rename("/d", "/moved")):
        assert not mfs.exists(path)
        with pytest.raises(FileNotFoundError):
            mfs.open(path)
        change()
        with pytest.raises(FileNotFoundError):
            mfs.open(path, "wb")
        mfs.mkdir("/d/e")
        mfs.open(path, "wb").close()
        assert mfs.listdir("/d/e") == ["x"]
        assert mfs.exists(path)
        mfs.remove(path)
        assert not mfs.exists(path)
    assert mfs.stats()["file_count"] == 0
