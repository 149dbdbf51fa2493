"""Every error: its class, its errno, its paths; and that nothing was changed."""

from __future__ import annotations

import errno
import io
import pickle

import pytest

import brimfs

LONG = "/" + "x" * 256

# call, class, errno, filename, filename2
TABLE = [
    (lambda fs: fs.read_bytes("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.read_bytes(b"/none"), FileNotFoundError, errno.ENOENT, b"/none", None),
    (lambda fs: fs.read_bytes("/file/x"), NotADirectoryError, errno.ENOTDIR, "/file/x", None),
    (lambda fs: fs.read_bytes("/dir"), IsADirectoryError, errno.EISDIR, "/dir", None),
    (lambda fs: fs.read_bytes("/loop"), OSError, errno.ELOOP, "/loop", None),
    (lambda fs: fs.read_bytes(LONG), OSError, errno.ENAMETOOLONG, LONG, None),
    (lambda fs: fs.read_bytes(""), brimfs.EmptyPath, errno.ENOENT, "", None),
    (lambda fs: fs.read_bytes("/a\0b"), brimfs.InvalidPath, errno.EINVAL, "/a\0b", None),
    (lambda fs: fs.read_bytes(b"/a\0b"), brimfs.InvalidPath, errno.EINVAL, b"/a\0b", None),
    (lambda fs: fs.read_bytes("/.."), brimfs.InvalidPath, errno.EINVAL, "/..", None),
    (
        lambda fs: fs.read_bytes("dir/../../x"),
        brimfs.InvalidPath,
        errno.EINVAL,
        "dir/../../x",
        None,
    ),
    (lambda fs: fs.read_text("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.write_bytes("/none/x", b""), FileNotFoundError, errno.ENOENT, "/none/x", None),
    (lambda fs: fs.write_bytes("/file/x", b""), NotADirectoryError, errno.ENOTDIR, "/file/x", None),
    (lambda fs: fs.write_bytes("/dir", b""), IsADirectoryError, errno.EISDIR, "/dir", None),
    (lambda fs: fs.write_bytes("/new/", b""), IsADirectoryError, errno.EISDIR, "/new/", None),
    (lambda fs: fs.write_bytes("/", b""), IsADirectoryError, errno.EISDIR, "/", None),
    (lambda fs: fs.write_bytes(LONG, b""), OSError, errno.ENAMETOOLONG, LONG, None),
    (lambda fs: fs.append_bytes("/dir", b""), IsADirectoryError, errno.EISDIR, "/dir", None),
    (lambda fs: fs.open("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.open("/none", "rb"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.open("/none", "r+b"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.open("/file", "xb"), FileExistsError, errno.EEXIST, "/file", None),
    (lambda fs: fs.open("/loop", "x"), FileExistsError, errno.EEXIST, "/loop", None),
    (lambda fs: fs.open("/dir", "rb"), IsADirectoryError, errno.EISDIR, "/dir", None),
    (lambda fs: fs.open("/dir", "wb"), IsADirectoryError, errno.EISDIR, "/dir", None),
    (lambda fs: fs.open("/file/x", "wb"), NotADirectoryError, errno.ENOTDIR, "/file/x", None),
    (lambda fs: fs.mkdir("/dir"), FileExistsError, errno.EEXIST, "/dir", None),
    (lambda fs: fs.mkdir("/"), FileExistsError, errno.EEXIST, "/", None),
    (lambda fs: fs.mkdir("/file"), FileExistsError, errno.EEXIST, "/file", None),
    (lambda fs: fs.mkdir("/x/y"), FileNotFoundError, errno.ENOENT, "/x/y", None),
    (lambda fs: fs.mkdir(""), brimfs.EmptyPath, errno.ENOENT, "", None),
    (lambda fs: fs.rmdir("/full"), OSError, errno.ENOTEMPTY, "/full", None),
    (lambda fs: fs.rmdir("/file"), NotADirectoryError, errno.ENOTDIR, "/file", None),
    (lambda fs: fs.rmdir("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.rmdir("/"), OSError, errno.EBUSY, "/", None),
    (lambda fs: fs.rmtree("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.rmtree("/file"), NotADirectoryError, errno.ENOTDIR, "/file", None),
    (lambda fs: fs.rmtree("/"), OSError, errno.EBUSY, "/", None),
    (lambda fs: fs.remove("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.remove(b"/none"), FileNotFoundError, errno.ENOENT, b"/none", None),
    (lambda fs: fs.remove("/dir"), IsADirectoryError, errno.EISDIR, "/dir", None),
    (lambda fs: fs.remove("/"), IsADirectoryError, errno.EISDIR, "/", None),
    (lambda fs: fs.rename("/none", "/x"), FileNotFoundError, errno.ENOENT, "/none", "/x"),
    (lambda fs: fs.rename("/file", "/none/x"), FileNotFoundError, errno.ENOENT, "/file", "/none/x"),
    (lambda fs: fs.rename("/file", "/dir"), IsADirectoryError, errno.EISDIR, "/file", "/dir"),
    (lambda fs: fs.rename("/dir", "/file"), NotADirectoryError, errno.ENOTDIR, "/dir", "/file"),
    (lambda fs: fs.rename("/dir", "/full"), OSError, errno.ENOTEMPTY, "/dir", "/full"),
    (lambda fs: fs.rename("/full", "/full/x"), OSError, errno.EINVAL, "/full", "/full/x"),
    (lambda fs: fs.rename("/", "/x"), OSError, errno.EBUSY, "/", "/x"),
    (lambda fs: fs.replace("/none", "/x"), FileNotFoundError, errno.ENOENT, "/none", "/x"),
    (lambda fs: fs.move("/none", "/dir"), FileNotFoundError, errno.ENOENT, "/none", "/dir/none"),
    (lambda fs: fs.copy("/none", "/x"), FileNotFoundError, errno.ENOENT, "/none", "/x"),
    (lambda fs: fs.copy("/dir", "/x"), IsADirectoryError, errno.EISDIR, "/dir", "/x"),
    (lambda fs: fs.copytree("/dir", "/full"), FileExistsError, errno.EEXIST, "/dir", "/full"),
    (lambda fs: fs.copytree("/none", "/x"), FileNotFoundError, errno.ENOENT, "/none", "/x"),
    (lambda fs: fs.copytree("/full", "/full/x"), OSError, errno.EINVAL, "/full", "/full/x"),
    (lambda fs: fs.symlink("x", "/file"), FileExistsError, errno.EEXIST, "x", "/file"),
    (lambda fs: fs.readlink("/file"), OSError, errno.EINVAL, "/file", None),
    (lambda fs: fs.readlink("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.link("/none", "/x"), FileNotFoundError, errno.ENOENT, "/none", "/x"),
    (lambda fs: fs.link("/file", "/dir"), FileExistsError, errno.EEXIST, "/file", "/dir"),
    (lambda fs: fs.link("/dir", "/x"), PermissionError, errno.EPERM, "/dir", "/x"),
    (lambda fs: fs.touch("/none/x"), FileNotFoundError, errno.ENOENT, "/none/x", None),
    (lambda fs: fs.truncate("/none", 0), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.truncate("/dir", 0), IsADirectoryError, errno.EISDIR, "/dir", None),
    (lambda fs: fs.truncate("/file", -1), OSError, errno.EINVAL, "/file", None),
    (lambda fs: fs.view("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.view("/dir"), IsADirectoryError, errno.EISDIR, "/dir", None),
    (lambda fs: fs.listdir("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.listdir("/file"), NotADirectoryError, errno.ENOTDIR, "/file", None),
    (lambda fs: fs.scandir("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.stat("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.lstat("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.chmod("/none", 0), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.utime("/none"), FileNotFoundError, errno.ENOENT, "/none", None),
    (lambda fs: fs.getxattr("/file", "user.x"), OSError, errno.ENODATA, "/file", None),
]


@pytest.mark.parametrize("row", TABLE, ids=range(len(TABLE)))
def test_errors(fs, row):
    call, cls, number, filename, filename2 = row
    fs.write_bytes("/file", b"content")
    fs.mkdir("/dir")
    fs.mkdir("/full")
    fs.write_bytes("/full/x.txt", b"")
    fs.symlink("loop", "/loop")
    before = fs.stats(), sorted(fs.listdir("/")), fs.read_bytes("/file")
    with pytest.raises(OSError) as caught:
        call(fs)
    error = caught.value
    assert type(error) is cls
    assert error.errno == number
    assert error.filename == filename
    assert type(error.filename) is type(filename)
    assert error.filename2 == filename2
    assert error.strerror
    assert error.strerror[0].isupper()
    after = fs.stats(), sorted(fs.listdir("/")), fs.read_bytes("/file")
    assert before[1:] == after[1:]
    assert before[0].quota_used == after[0].quota_used
    assert before[0].nodes == after[0].nodes


def test_the_hierarchy():
    assert issubclass(brimfs.InvalidPath, OSError)
    assert issubclass(brimfs.InvalidPath, ValueError)
    assert issubclass(brimfs.EmptyPath, FileNotFoundError)
    assert issubclass(brimfs.EmptyPath, brimfs.InvalidPath)
    assert issubclass(brimfs.QuotaExceeded, OSError)
    assert issubclass(brimfs.NodeLimitExceeded, brimfs.QuotaExceeded)
    assert issubclass(brimfs.MemoryLimitExceeded, OSError)
    assert issubclass(brimfs.MemoryLimitExceeded, MemoryError)
    assert issubclass(brimfs.LockTimeout, TimeoutError)
    assert issubclass(brimfs.Forked, OSError)
    assert issubclass(brimfs.StoreInUse, OSError)
    assert issubclass(brimfs.ReadOnly, OSError)


def test_over_quota():
    with brimfs.FileSystem(quota=10_000, memory_limit="64MiB") as fs:
        fs.write_bytes("/a", b"x" * 6000)
        with pytest.raises(brimfs.QuotaExceeded) as caught:
            fs.write_bytes("/b", b"y" * 6000)
        error = caught.value
        assert error.errno == errno.ENOSPC
        assert error.filename == "/b"
        assert (error.requested, error.used, error.limit, error.available) == (
            6000,
            6000,
            10_000,
            4000,
        )
        assert not fs.exists("/b")
        assert fs.stats().quota_used == 6000
        with fs.open("/a", "r+b") as file:
            file.seek(0, 2)
            with pytest.raises(brimfs.QuotaExceeded) as caught:
                file.write(b"z" * 5000)
            assert caught.value.filename == "/a"
            assert file.tell() == 6000
            file.write(b"z" * 4000)
        with pytest.raises(brimfs.QuotaExceeded):
            fs.append_bytes("/a", b"z")
        assert fs.stats().quota_used == 10_000
        fs.remove("/a")
        assert fs.stats().quota_used == 0
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is brimfs.QuotaExceeded
        assert (again.errno, again.filename, again.available) == (errno.ENOSPC, "/b", 4000)


def test_over_the_node_limit():
    with brimfs.FileSystem(max_nodes=3, memory_limit="64MiB") as fs:
        fs.mkdir("/a")
        fs.write_bytes("/a/b", b"x")
        for call in (
            lambda: fs.mkdir("/c"),
            lambda: fs.write_bytes("/c", b"x"),
            lambda: fs.symlink("a", "/c"),
            lambda: fs.open("/c", "wb"),
        ):
            with pytest.raises(brimfs.NodeLimitExceeded) as caught:
                call()
            assert caught.value.errno == errno.ENOSPC
            assert (caught.value.used, caught.value.limit) == (3, 3)
        assert fs.stats().quota_used == 1
        assert fs.stats().nodes == 3


def test_over_the_memory_limit():
    with brimfs.FileSystem(memory_limit="4MiB", spill_dir=False) as fs:
        with pytest.raises(brimfs.MemoryLimitExceeded) as caught:
            fs.write_bytes("/a", bytearray(8 << 20))
        assert caught.value.errno == errno.ENOMEM
        assert caught.value.filename == "/a"
        assert isinstance(caught.value, MemoryError)
        assert caught.value.limit == 4 << 20
        assert not fs.exists("/a")
        assert fs.stats().resident <= 4 << 20


def test_sizes_beyond_everything(fs):
    with fs.open("/a", "w+b") as file:
        for call in (
            lambda: file.seek(-1),
            lambda: file.seek(-1, 1),
            lambda: file.seek(-1, 2),
            lambda: file.seek(1 << 63),
            lambda: file.seek(1 << 100),
            lambda: file.truncate(-1),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EINVAL
            assert caught.value.filename == "/a"
        assert file.tell() == 0
        file.seek((1 << 63) - 1)
        with pytest.raises(OSError) as caught:
            file.write(b"x")
        assert caught.value.errno == errno.EFBIG
        with pytest.raises(OSError) as caught:
            file.truncate(1 << 63)
        assert caught.value.errno in (errno.EINVAL, errno.EFBIG)
        file.truncate((1 << 63) - 1)
        file.truncate(0)
    assert fs.stats().quota_used == 0


@pytest.mark.parametrize(
    "mode",
    ["", "q", "rw", "rr", "r++", "+", "b", "t", "rbt", "U", "rU", "wa", "xw", "rb b", "r\0", "R"],
)
def test_unknown_modes(fs, tmpfs, mode):
    with pytest.raises(ValueError):
        open(tmpfs / "a", mode)
    with pytest.raises(ValueError):
        fs.open("/a", mode)
    assert not fs.exists("/a")


@pytest.mark.parametrize(
    "keywords",
    [
        {"mode": "rb", "encoding": "utf-8"},
        {"mode": "rb", "errors": "strict"},
        {"mode": "rb", "newline": "\n"},
        {"mode": "r", "buffering": 0},
        {"mode": "r", "buffering": -2},
        {"mode": "r", "newline": "x"},
        {"mode": "r", "lock": "always"},
        {"mode": "r", "lock_timeout": -1},
    ],
)
def test_arguments_that_do_not_go_together(fs, keywords):
    fs.write_bytes("/a", b"")
    with pytest.raises(ValueError):
        fs.open("/a", **keywords)
    with pytest.raises(TypeError):
        fs.open("/a", 5)
    with pytest.raises(TypeError):
        fs.open("/a", unknown=5)
    assert fs.stats().open_handles == 0


def test_line_buffering_of_binary_files_warns(fs):
    with pytest.warns(RuntimeWarning, match="line buffering"):
        fs.open("/a", "wb", buffering=1).close()


def test_an_encoding_that_is_none_closes_the_file(fs):
    with pytest.raises(LookupError):
        fs.open("/a", "w", encoding="no such codec")
    assert fs.stats().open_handles == 0


def test_the_wrong_direction(fs):
    with fs.open("/a", "wb") as file:
        for call in (file.read, file.readline, file.readall, file.peek, lambda: next(file)):
            with pytest.raises(io.UnsupportedOperation):
                call()
        with pytest.raises(io.UnsupportedOperation):
            file.readinto(bytearray(1))
        assert not file.readable()
        assert file.writable()
    with fs.open("/a", "rb") as file:
        for call in (lambda: file.write(b""), file.truncate, lambda: file.writelines([])):
            with pytest.raises(io.UnsupportedOperation):
                call()
        assert file.readable()
        assert not file.writable()


def test_deep_trees_are_no_problem(fs):
    depth = 3000
    path = ""
    for _ in range(depth):
        path += "/d"
        fs.mkdir(path)
    assert fs.is_dir(path)
    assert sum(1 for _ in fs.walk("/")) == depth + 1
    fs.copytree("/d", "/e")
    fs.rename("/e", "/d/e")
    fs.rmtree("/d")
    assert fs.listdir("/") == []
