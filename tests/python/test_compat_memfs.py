"""The interface of memfs: files, directories, paths, modes, the log, instances."""

from __future__ import annotations

import inspect
import io
import json
import os
import tempfile

import pytest

from brimfs.compat import memfs
from brimfs.compat.memfs import InstanceConflictError, MemFileSystem, OperationType


@pytest.fixture(params=["temp", "persist"])
def fs(request, tmp_path):
    place = tmp_path / "place"
    with MemFileSystem(1 << 20, persist_path=place, storage_mode=request.param) as fs:
        yield fs


@pytest.fixture(autouse=True)
def no_instances():
    yield
    memfs.close_all_instances()
    memfs.set_global_fs(None)


def test_every_name_is_there():
    for name in memfs.__all__:
        assert getattr(memfs, name) is not None
    assert memfs.__version__ == "0.1.0"
    assert issubclass(memfs.VirtualFile, io.RawIOBase)
    for error in (memfs.InstanceConflictError, memfs.ExternalModificationError):
        assert error.__bases__ == (Exception,)


def test_the_parameters_of_the_constructor():
    expected = [
        ("memory_limit_bytes", None),
        ("memory_limit_percent", 0.8),
        ("persist_path", "./memfs_data"),
        ("storage_mode", "temp"),
        ("worker_threads", 4),
        ("enable_logging", True),
        ("log_path", None),
        ("priority_boost_threshold", 10),
        ("memory_limit", None),
    ]

    def parameters(call):
        found = inspect.signature(call).parameters.items()
        return [(name, parameter.default) for name, parameter in found]

    assert parameters(MemFileSystem) == expected
    expected[2] = ("persist_path", None)
    assert parameters(memfs.init) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory_limit_percent": 5.0},
        {"memory_limit": 0},
        {"memory_limit_bytes": -1},
        {"worker_threads": 0},
        {"storage_mode": "other"},
    ],
)
def test_values_that_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError):
        MemFileSystem(persist_path=tmp_path / "new", **wrong)


def test_a_temporary_directory_has_to_be_empty(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for taken in ("full", "full/x"):
        with pytest.raises(FileExistsError):
            MemFileSystem(1000, persist_path=tmp_path / taken)
    (tmp_path / "empty").mkdir()
    for place in ("empty", "deep/er"):
        with MemFileSystem(1000, persist_path=tmp_path / place) as fs:
            fs.write("/a", b"x")
            assert (tmp_path / place).is_dir()
        assert not (tmp_path / place).exists()


def test_whole_files(fs):
    assert fs.write("/a/b/c.txt", "hä") == 3
    assert fs.write("bin", bytearray(b"12"), priority=7) == 2
    assert (fs.read("/a/b/c.txt"), fs.read("/bin")) == ("hä".encode(), b"12")
    assert (fs.exists("/a"), fs.exists("/a/b/c.txt"), fs.exists("/none")) == (True, True, False)
    assert fs.get_priority("/bin") == 7
    fs.read("/bin", priority=3)
    assert fs.get_priority("/bin") == 3
    for path in ("/none", "/a"):
        with pytest.raises(FileNotFoundError):
            fs.read(path)
    for data in (5, None, ["x"]):
        with pytest.raises(TypeError):
            fs.write("/wrong", data)
    assert not fs.exists("/wrong")
    assert [fs.delete(path) for path in ("/bin", "/bin", "/a", "/none")] == [True] + [False] * 3
    with pytest.raises(IsADirectoryError):
        fs.write("/a", b"")
    for priority in (-1, 11, 99):
        for call in (fs.write, fs.set_priority, fs.preload):
            with pytest.raises(ValueError):
                call(*(("/x", b"") if call == fs.write else ("/x",)), priority=priority)


def test_spellings_of_paths(fs):
    fs.write("dir\\a.txt", b"1")
    for path in ("/dir/a.txt", "dir/a.txt", "//dir//a.txt", "/dir/./a.txt", "/dir/x/../a.txt"):
        assert fs.read(path) == b"1"
        assert fs.exists(path)
    assert fs.listdir("/dir/") == fs.listdir("dir") == ["a.txt"]
    for path in (b"/a", None, 5):
        for call in (fs.read, fs.exists, fs.delete, fs.open, fs.listdir, fs.mkdir):
            with pytest.raises(TypeError):
                call(path)


MODES = {
    # mode: what a file with "old" has after `write("new")`, and without it
    "w": ("new", ""),
    "w+": ("new", ""),
    "a": ("oldnew", "old"),
    "a+": ("oldnew", "old"),
    "r+": ("new", "old"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("binary", ["", "b", "t"])
def test_modes_that_write(fs, mode, binary):
    new = b"new" if binary == "b" else "new"
    for text, expected in zip((new, None), MODES[mode], strict=True):
        fs.write("/f", "old", priority=8)
        with fs.open("/f", mode + binary) as file:
            assert (file.mode, file.key, file.writable()) == (mode + binary, "/f", True)
            assert file.readable() == ("+" in mode)
            if text is not None:
                assert file.write(text) == 3
                assert fs.read("/f") == b"old"
        assert fs.read("/f") == expected.encode()
        assert fs.get_priority("/f") == 8


def test_modes_that_read_and_make(fs):
    fs.write("/f", "one\ntwö")
    with fs.open("/f") as file:
        assert file.read() == "one\ntwö".encode()
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
        with pytest.raises(io.UnsupportedOperation):
            file.writelines([b"x"])
    with fs.open("/f", "r") as file:
        assert (file.read(2), file.readline(), file.read(3)) == ("on", "e\n", "twö")
        file.seek(0)
        assert list(file) == ["one\n", "twö"]
        file.seek(0)
        # The older package returned bytes in every mode.
        assert file.read() == "one\ntwö".encode()
        file.seek(0)
        assert file.readline().decode() == "one\n"
    with pytest.raises(FileNotFoundError):
        fs.open("/none/x", "r")
    assert not fs.exists("/none")
    with pytest.raises(FileExistsError):
        fs.open("/f", "x")
    with fs.open("/new", "xb", priority=9) as file:
        file.write(b"1")
        with pytest.raises(io.UnsupportedOperation):
            file.read()
        with pytest.raises(io.UnsupportedOperation):
            file.readline()
    assert (fs.read("/new"), fs.get_priority("/new")) == (b"1", 9)
    for mode in ("", "rw", "q", "rr", "rbt"):
        with pytest.raises(ValueError):
            fs.open("/f", mode)
    with pytest.raises(IsADirectoryError):
        fs.mkdir("/d") and fs.open("/d")


def test_a_file_object(fs):
    with fs.open("/f", "w+b") as file:
        file.writelines([b"12", b"34"])
        assert (file.tell(), file.seek(1), file.truncate(), file.truncate(3)) == (4, 1, 1, 3)
        file.seek(0)
        room = bytearray(5)
        assert (file.readinto(room), bytes(room[:3])) == (3, b"1\0\0")
        with pytest.raises(TypeError):
            file.write("text")
    with pytest.raises(ValueError):
        file.read()
    assert not fs.exists("/f")
    file = fs.open("/g", "wb")
    file.write(b"kept")
    del file
    assert fs.read("/g") == b"kept"
    with io.TextIOWrapper(fs.open("/g"), encoding="utf-8") as text:
        assert text.read() == "kept"


def test_the_last_to_close_wins(fs):
    first, second = fs.open("/f", "w"), fs.open("/f", "w")
    first.write("first")
    second.write("second")
    second.close()
    first.close()
    assert fs.read("/f") == b"first"


def test_directories(fs):
    assert fs.mkdir("/a/b") is fs.mkdir("/a/b") is True
    fs.write("/a/f", b"")
    assert fs.mkdir("/a/f") is False
    assert fs.listdir("/a") == ["f", "b"]
    assert fs.listdir() == ["a"]
    for path in ("/none", "/a/f"):
        with pytest.raises(FileNotFoundError):
            fs.listdir(path)
    assert [fs.rmdir(path) for path in ("/a", "/", "/none", "/a/f", "/a/b")] == [
        False,
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/*.py", ["/x.py"]),
        ("*.py", ["/x.py"]),
        ("/**/*.py", ["/d/e/z.py", "/d/y.py", "/x.py"]),
        ("/d/**", ["/d/e/z.py", "/d/y.py"]),
        ("/d/?.py", ["/d/y.py"]),
        ("/d/[xy].py", ["/d/y.py"]),
        ("/d/[!xy].py", []),
        ("\\d\\*", ["/d/y.py"]),
        ("/d", []),
        ("/[.]dot", ["/.dot"]),
        ("/*dot", ["/.dot"]),
        ("/", []),
        ("/d/**/z.py", ["/d/e/z.py"]),
        ("/[]].py", []),
        ("/[x", []),
    ],
)
def test_patterns(fs, pattern, found):
    for path in ("/x.py", "/d/y.py", "/d/e/z.py", "/.dot"):
        fs.write(path, b"")
    assert fs.glob(pattern) == found


def test_patterns_of_directories(fs):
    fs.mkdir("/d/e")
    assert fs.glob("/**", files_only=False) == ["/d", "/d/e"]


def test_everything_is_cleared(fs):
    fs.write("/a/b", b"x" * 100)
    fs.read("/a/b")
    limit = fs.get_stats()["memory"]["limit"]
    fs.clear()
    assert fs.listdir() == []
    stats = fs.get_stats()
    assert (stats["memory"]["limit"], stats["memory"]["peak_usage"]) == (limit, 0)
    assert (stats["cache"]["hits"], stats["operations"]["total_operations"]) == (0, 0)


def test_after_the_end(fs):
    file = fs.open("/late", "w")
    file.write("x")
    assert fs.shutdown() == 0
    assert (fs.shutdown(), fs.close(), fs.shutdown_async()) == (0, 0, 0)
    for call in (
        lambda: fs.write("/a", b""),
        lambda: fs.read("/a"),
        lambda: fs.exists("/a"),
        lambda: fs.open("/a"),
        lambda: fs.delete("/a"),
        lambda: fs.preload("/a"),
        lambda: fs.mkdir("/a"),
        lambda: fs.rmdir("/a"),
        fs.listdir,
        fs.get_stats,
        fs.gc,
        fs.clear,
        fs.flush,
        fs.get_memory_map,
        fs.__enter__,
        file.close,
    ):
        with pytest.raises(RuntimeError):
            call()


def test_the_log(fs, tmp_path):
    fs.write("/a", b"12", priority=7)
    fs.read("/a")
    fs.open("/a").close()
    fs.open("/b", "w").close()
    fs.set_priority("/a", 3)
    fs.mkdir("/d")
    fs.rmdir("/d")
    fs.preload("/a").wait()
    fs.delete("/a")
    fs.delete("/a")
    entries = fs.logger.get_entries()
    assert [entry.operation for entry in entries] == [
        "WRITE",
        "READ",
        "READ",
        "WRITE",
        "SET_PRIORITY",
        "MKDIR",
        "RMDIR",
        "PRELOAD",
        "DELETE",
        "DELETE",
    ]
    assert set(entries[0]) == {
        "operation",
        "path",
        "timestamp",
        "size",
        "priority",
        "duration_ms",
        "success",
        "error",
        "metadata",
    }
    assert (entries[0].size, entries[0]["priority"], entries[0].path) == (2, 7, "/a")
    assert [entry.success for entry in fs.logger.get_entries(limit=2)] == [True, False]
    assert len(fs.logger.get_entries(operation_type=OperationType.DELETE)) == 2
    assert len(fs.logger.get_entries(path_pattern="b")) == 1
    moment = entries[4].timestamp
    assert len(fs.logger.get_entries(end_time=moment)) + len(
        fs.logger.get_entries(start_time=moment)
    ) in (10, 11)
    stats = fs.logger.get_stats()
    assert (stats["total_entries"], stats["successful"], stats["failed"]) == (10, 9, 1)
    assert stats["by_operation"]["READ"] == 2
    fs.logger.export_json(tmp_path / "log.json")
    assert json.loads((tmp_path / "log.json").read_text()) == entries
    fs.logger.clear()
    assert fs.logger.get_entries() == []


def test_a_filesystem_without_a_log(tmp_path):
    with MemFileSystem(1000, persist_path=tmp_path / "x", enable_logging=False) as fs:
        fs.write("/a", b"")
        assert fs.logger is None


def test_what_init_makes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fs = memfs.init(1000)
    assert fs is memfs.get_global_fs()
    assert os.path.dirname(fs.persist_path) == tempfile.gettempdir()
    assert os.path.basename(fs.persist_path).startswith("memfs_")
    assert len(os.path.basename(fs.persist_path)) == len("memfs_") + 12
    kept = memfs.init(1000, storage_mode="persist")
    assert kept.persist_path == str(tmp_path / "memfs_data")
    assert memfs.init(storage_mode="persist") is kept
    assert memfs.get_instance_stats()[kept.persist_path] == {
        "ref_count": 2,
        "storage_mode": "persist",
        "persist_path": kept.persist_path,
    }
    assert (memfs.get_instance_count(), memfs.has_instance("memfs_data")) == (2, True)
    assert memfs.close(fs) is True
    assert memfs.get_global_fs() is kept
    assert (memfs.close(), memfs.close_instance("./memfs_data")) == (False, True)
    assert (memfs.close_instance("memfs_data"), memfs.close(kept)) == (False, False)
    assert memfs.get_instance_count() == 0


def test_conflicts_of_directories(tmp_path):
    memfs.init(1000, persist_path=tmp_path / "t")
    memfs.init(1000, persist_path=tmp_path / "p", storage_mode="persist")
    for place in ("t", "p"):
        with pytest.raises(InstanceConflictError):
            memfs.init(1000, persist_path=tmp_path / place)
    for place in ("t", "p/below", "t/below", "."):
        with pytest.raises(InstanceConflictError):
            memfs.init(1000, persist_path=tmp_path / place, storage_mode="persist")


def test_the_functions_of_the_module(tmp_path):
    memfs.init(1000, persist_path=tmp_path / "p", storage_mode="persist")
    assert memfs.write("/d/a", "12", priority=6) == 2
    assert memfs.read("/d/a", priority=7) == b"12"
    with memfs.open("/b", "w") as file:
        file.write("x")
    assert (memfs.exists("/b"), memfs.delete("/b"), memfs.mkdir("/e")) == (True, True, True)
    assert (memfs.rmdir("/e"), memfs.listdir(), memfs.glob("/**/a")) == (True, ["d"], ["/d/a"])
    assert (memfs.set_priority("/d/a", 4), memfs.get_priority("/d/a")) == (True, 4)
    assert memfs.preload("/d/a").wait()
    assert memfs.gc() == 0
    assert memfs.get_stats()["memory"]["limit"] == 1000
    assert memfs.get_file_info("/d/a")["size"] == 2
    assert list(memfs.get_memory_map()) == ["/d/a"]
    memfs.get_global_fs().flush()
    assert (tmp_path / "p/d/a").exists()
    assert memfs.clear_persist() is True
    assert not (tmp_path / "p/d").exists()
    assert memfs.listdir() == []


def test_unique_paths():
    first, second = memfs.get_unique_temp_path(), memfs.get_unique_temp_path()
    assert first != second
    assert not os.path.exists(first)
