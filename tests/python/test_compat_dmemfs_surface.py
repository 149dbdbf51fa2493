"""The interface of dmemfs: names, modes, paths, handles, metadata."""

from __future__ import annotations

import copy
import errno
import inspect
import io
import pickle
from pathlib import PurePosixPath

import pytest

from brimfs.compat import dmemfs
from brimfs.compat.dmemfs import MemoryFileSystem


@pytest.fixture
def mfs():
    return MemoryFileSystem(max_quota=1 << 20, default_lock_timeout=0.05)


def put(mfs, path, content=b"content"):
    with mfs.open(path, "wb") as file:
        file.write(content)


def get(mfs, path):
    with mfs.open(path) as file:
        return file.read()


def test_every_name_is_there():
    for name in dmemfs.__all__:
        assert getattr(dmemfs, name) is not None
    assert dmemfs.__version__ == "0.4.1"
    assert issubclass(dmemfs.MemoryFileHandle, io.RawIOBase)
    assert issubclass(dmemfs.MFSQuotaExceededError, OSError)
    assert issubclass(dmemfs.MFSNodeLimitExceededError, dmemfs.MFSQuotaExceededError)
    with pytest.raises(AttributeError):
        _ = dmemfs.nothing


def test_the_parameters_of_the_constructor():
    assert [
        (name, parameter.default)
        for name, parameter in inspect.signature(MemoryFileSystem).parameters.items()
    ] == [
        ("max_quota", 268435456),
        ("chunk_overhead_override", None),
        ("promotion_hard_limit", None),
        ("max_nodes", None),
        ("default_storage", "auto"),
        ("default_lock_timeout", 30.0),
        ("memory_guard", "none"),
        ("memory_guard_action", "warn"),
        ("memory_guard_interval", 1.0),
    ]


@pytest.mark.parametrize(
    "keywords",
    [
        {"default_storage": "other"},
        {"memory_guard": "always"},
        {"memory_guard_action": "ignore"},
        {"max_quota": -1},
    ],
)
def test_values_that_are_refused(keywords):
    with pytest.raises(ValueError):
        MemoryFileSystem(**keywords)


def test_a_quota_is_a_whole_number():
    assert MemoryFileSystem(1e6).stats()["quota_bytes"] == 1_000_000
    with pytest.raises(TypeError):
        MemoryFileSystem(0.5)


def test_it_is_neither_pickled_nor_copied(mfs):
    for way in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError):
            way(mfs)
    assert not hasattr(mfs, "close")
    assert not hasattr(mfs, "__enter__")


def test_errors_of_limits_are_pickled():
    quota = pickle.loads(pickle.dumps(dmemfs.MFSQuotaExceededError(5, 3)))
    assert (quota.requested, quota.available, quota.errno) == (5, 3, errno.ENOSPC)
    nodes = pickle.loads(pickle.dumps(dmemfs.MFSNodeLimitExceededError(7, 7)))
    assert (nodes.current, nodes.limit, nodes.requested, nodes.available) == (7, 7, 8, 0)


def test_a_handle_outlives_its_filesystem(mfs):
    file = mfs.open("/a", "wb")
    del mfs
    assert file.write(b"abc") == 3
    file.close()


@pytest.mark.parametrize(
    "spelling", ["/d/a", "d/a", "d\\a", "/d//a/", "///d/./a", "/d/x/../a", "\\d\\a\\", "//d/a"]
)
def test_spellings_of_a_path(mfs, spelling):
    mfs.mkdir("/d")
    put(mfs, "/d/a")
    assert mfs.exists(spelling)
    assert get(mfs, spelling) == b"content"


@pytest.mark.parametrize("path", ["..", "/../x", "/a/../../x", "a\\..\\..\\x"])
def test_nothing_leads_above_the_root(mfs, path):
    assert (mfs.exists(path), mfs.is_file(path), mfs.is_dir(path)) == (False, False, False)
    for call in (mfs.stat, mfs.listdir, mfs.mkdir, mfs.remove, mfs.open, mfs.get_size):
        with pytest.raises(ValueError):
            call(path)


@pytest.mark.parametrize("path", [b"/a", PurePosixPath("/a"), None, 5])
def test_paths_are_text(mfs, path):
    for call in (mfs.exists, mfs.open, mfs.mkdir, mfs.stat, mfs.glob):
        with pytest.raises(TypeError):
            call(path)


def test_names_are_anything(mfs):
    names = ["\0", "a\nb", "n" * 5000, "ä", "\udc80", "A", "a"]
    for name in names:
        put(mfs, f"/{name}", b"x")
    assert mfs.listdir("/") == names


def test_a_path_through_a_file_is_text_alone(mfs):
    put(mfs, "/a.txt")
    assert mfs.is_dir("a.txt/..")


@pytest.mark.parametrize("mode", ["r", "w", "w+b", "rb+", "rw", "", "br", "a+b"])
def test_other_modes_are_refused(mfs, mode):
    with pytest.raises(ValueError):
        mfs.open("/../a", mode)


@pytest.mark.parametrize(
    ("mode", "missing", "readable", "writable"),
    [
        ("rb", FileNotFoundError, True, False),
        ("r+b", FileNotFoundError, True, True),
        ("wb", None, False, True),
        ("ab", None, False, True),
        ("xb", None, False, True),
    ],
)
def test_modes(mfs, mode, missing, readable, writable):
    mfs.mkdir("/d")
    with pytest.raises(IsADirectoryError):
        mfs.open("/d", mode)
    if missing:
        with pytest.raises(missing):
            mfs.open("/a", mode)
        put(mfs, "/a", b"")
    with mfs.open("/a", mode, 0, None) as file:
        assert (file.readable(), file.writable(), file.seekable()) == (readable, writable, True)
        assert (file.name, file.mode, file.tell(), file.isatty()) == ("/a", mode, 0, False)
        if not readable:
            for read in (
                file.read,
                file.readline,
                file.readall,
                lambda: file.readinto(bytearray(1)),
            ):
                with pytest.raises(io.UnsupportedOperation):
                    read()
        if not writable:
            with pytest.raises(io.UnsupportedOperation):
                file.write(b"x")
            with pytest.raises(io.UnsupportedOperation):
                file.truncate()
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()


def test_what_is_there_is_kept_or_not(mfs):
    put(mfs, "/a", b"12345")
    with pytest.raises(FileExistsError):
        mfs.open("/a", "xb")
    with mfs.open("/a", "ab") as file:
        assert file.tell() == 5
        file.seek(0)
        assert file.write(b"67") == 2
        assert file.tell() == 7
    with mfs.open("/a", "r+b") as file:
        file.write(b"ab")
    assert get(mfs, "/a") == b"ab34567"
    mfs.open("/a", "wb").close()
    assert get(mfs, "/a") == b""


def test_a_parent_has_to_be_there(mfs):
    put(mfs, "/file")
    for path in ("/no/a", "/file/a"):
        with pytest.raises(FileNotFoundError):
            mfs.open(path, "wb")


def test_reading(mfs):
    put(mfs, "/a", b"one\ntwo\nthree")
    with mfs.open("/a") as file:
        assert file.read(2) == b"on"
        assert file.read(0) == b""
        assert file.read(None) == b"e\ntwo\nthree"
        assert (file.read(), file.read(5), file.read(None)) == (b"", b"", b"")
        file.seek(0)
        assert list(file) == [b"one\n", b"two\n", b"three"]
        file.seek(0)
        assert file.readlines() == [b"one\n", b"two\n", b"three"]
        file.seek(-5, 2)
        room = bytearray(10)
        assert (file.readinto(room), bytes(room[:5])) == (5, b"three")
        assert file.readinto(room) == 0
        file.seek(100)
        assert file.read() == b""
        with pytest.raises(TypeError):
            file.readinto(bytes(1))


@pytest.mark.parametrize("size", [10, 70_000, 3_000_000])
def test_content_of_every_size_in_pieces(mfs, size):
    mfs = MemoryFileSystem(1 << 25)
    content = bytes(range(251)) * (size // 251 + 1)
    content = content[:size]
    with mfs.open("/a", "wb") as file:
        for start in range(0, size, 9999):
            file.write(memoryview(content)[start : start + 9999])
    with mfs.open("/a") as file:
        pieces = list(iter(lambda: file.read(4096), b""))
        assert b"".join(pieces) == content
        file.seek(0)
        room = bytearray(size + 1)
        assert file.readinto(room) == size
        assert room[:size] == content
    assert mfs.export_as_bytesio("/a").getvalue() == content


@pytest.mark.parametrize(
    ("offset", "whence"), [(-1, 0), (1, 2), (-100, 1), (-100, 2), (0, 3), (0, -1)]
)
def test_wrong_seeks(mfs, offset, whence):
    put(mfs, "/a", b"12345")
    with mfs.open("/a") as file:
        file.seek(2)
        with pytest.raises(ValueError):
            file.seek(offset, whence)
        assert file.tell() == 2
        assert file.seek(offset=1, whence=1) == 3


def test_writing(mfs):
    with mfs.open("/a", "wb") as file:
        assert file.write(b"") == 0
        assert file.write(bytearray(b"ab")) == 2
        assert file.write(memoryview(b"cdef")[::2]) == 2
        assert file.write(memoryview(b"1234").cast("I")) == 4
        for wrong in ("text", 5, None, __import__("array").array("b", [1])):
            with pytest.raises(TypeError):
                file.write(wrong)
        file.writelines([b"x", b"y"])
        file.seek(12)
        file.write(b"z")
    assert get(mfs, "/a") == b"abce1234xy\0\0z"


def test_truncating(mfs):
    put(mfs, "/a", b"12345")
    with mfs.open("/a", "r+b") as file:
        file.seek(4)
        assert (file.truncate(2), file.tell()) == (2, 2)
        assert file.truncate(4) == 4
        assert (file.seek(0), file.read()) == (0, b"12\0\0")
        file.seek(1)
        assert file.truncate() == 1
        with pytest.raises(ValueError):
            file.truncate(-1)
    assert get(mfs, "/a") == b"1"
    with mfs.open("/a", "wb") as file:
        file.truncate(3)
        file.seek(2)
        file.write(b"x")
    assert get(mfs, "/a") == b"\0\0x"


def test_a_closed_handle(mfs):
    file = mfs.open("/a", "wb")
    file.close()
    file.close()
    assert file.closed
    for use in (
        file.read,
        file.tell,
        file.flush,
        file.readable,
        file.writable,
        file.seekable,
        file.truncate,
        lambda: file.write(b""),
        lambda: file.seek(0),
        file.__enter__,
        file.__iter__,
    ):
        with pytest.raises(ValueError):
            use()


def test_the_wrappers_of_io(mfs):
    with io.TextIOWrapper(mfs.open("/a", "wb"), encoding="utf-8", newline="") as text:
        text.write("ä\nb\r\n")
    with io.TextIOWrapper(mfs.open("/a"), encoding="utf-8") as text:
        assert text.readlines() == ["ä\n", "b\n"]
    with io.BufferedReader(mfs.open("/a")) as buffered:
        assert buffered.peek(1)[:2] == "ä".encode()
    with io.BufferedRandom(mfs.open("/a", "r+b")) as both:
        both.seek(2)
        both.write(b"!")
    assert get(mfs, "/a")[:3] == "ä!".encode()


def test_an_abandoned_handle_gives_its_lock_back(mfs):
    file = mfs.open("/a", "wb")
    with pytest.warns(ResourceWarning, match="unclosed file '/a'"):
        del file
    mfs.remove("/a")


def test_metadata(mfs):
    mfs.mkdir("/d")
    assert mfs.stat("/d") == {**mfs.stat("/d"), "size": 0, "generation": 0, "is_dir": True}
    put(mfs, "/a", b"12")
    first = mfs.stat("/a")
    assert set(first) == {"size", "created_at", "modified_at", "generation", "is_dir"}
    assert (first["size"], first["generation"], first["is_dir"]) == (2, 1, False)
    assert isinstance(first["created_at"], float)
    with mfs.open("/a", "r+b") as file:
        file.truncate(2)
        assert mfs.stat("/a") == first
        file.write(b"x")
        file.truncate(1)
        changed = mfs.stat("/a")
    assert (changed["generation"], changed["size"]) == (3, 1)
    assert changed["modified_at"] >= first["modified_at"]
    assert changed["created_at"] == first["created_at"]
    mfs.open("/a", "wb").close()
    assert mfs.stat("/a")["generation"] == 4
    before = mfs.stat("/a")
    mfs.open("/a", "ab", preallocate=10).close()
    assert mfs.stat("/a") == {**before, "size": 10, "generation": 5}
    mfs.rename("/a", "/b")
    assert mfs.stat("/b")["generation"] == 5
    assert mfs.get_size("/b") == 10
    with pytest.raises(IsADirectoryError):
        mfs.get_size("/d")
    for call in (mfs.stat, mfs.get_size):
        with pytest.raises(FileNotFoundError):
            call("/none")


def test_times_of_directories_stay(mfs):
    mfs.mkdir("/d")
    before = mfs.stat("/d")
    put(mfs, "/d/a")
    mfs.remove("/d/a")
    assert mfs.stat("/d") == before


def test_generations_of_copies_and_imports(mfs):
    put(mfs, "/a")
    put(mfs, "/empty", b"")
    mfs.copy("/a", "/b")
    mfs.copy("/empty", "/c")
    mfs.mkdir("/d")
    mfs.move("/b", "/d/b")
    mfs.copy_tree("/d", "/e")
    mfs.import_tree({"/a": b"new"})
    generations = {path: mfs.stat(path)["generation"] for path in ("/a", "/c", "/d/b", "/e/b")}
    assert generations == {"/a": 0, "/c": 0, "/d/b": 1, "/e/b": 0}
    assert sorted(mfs.export_tree(only_dirty=True)) == ["/d/b"]


def test_preallocation(mfs):
    with mfs.open("/a", "xb", 100) as file:
        assert (file.tell(), mfs.get_size("/a")) == (0, 100)
        file.write(b"abc")
    with mfs.open("/a", "rb", 50) as file:
        assert file.read() == b"abc" + bytes(97)
    with mfs.open("/a", "ab", 120) as file:
        assert file.tell() == 100


def test_the_fixture_of_the_plugin(pytester_run):
    pytester_run(
        """
        pytest_plugins = ["brimfs.compat.dmemfs._pytest_plugin"]

        def test_it(mfs):
            assert mfs.stats()["quota_bytes"] == 1024 * 1024
        """
    )


@pytest.fixture
def pytester_run(tmp_path):
    import subprocess
    import sys
    import textwrap

    def run(source):
        (tmp_path / "test_it.py").write_text(textwrap.dedent(source))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "1 passed" in done.stdout, done.stdout + done.stderr

    return run
