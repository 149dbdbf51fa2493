"""Metadata and extended attributes."""

from __future__ import annotations

import os
import stat
import time

import pytest


def test_stat_is_a_stat_result(fs):
    before = time.time_ns() - 10_000_000
    fs.write_bytes("/a", b"x" * 5000)
    found = fs.stat("/a")
    assert isinstance(found, os.stat_result)
    assert found.st_size == 5000
    assert stat.S_ISREG(found.st_mode)
    assert found.st_nlink == 1
    assert found.st_uid == os.getuid()
    assert found.st_gid == os.getgid()
    assert before <= found.st_mtime_ns <= time.time_ns() + 10_000_000
    assert abs(found.st_mtime - found.st_mtime_ns / 1e9) < 1e-3
    assert found[8] == found.st_mtime_ns // 1_000_000_000
    assert found.st_blocks * 512 >= 5000
    assert found.st_blksize > 0
    fs.mkdir("/d")
    assert stat.S_ISDIR(fs.stat("/d").st_mode)
    assert fs.stat("/d").st_ino != found.st_ino


def test_times(fs):
    fs.write_bytes("/a", b"")
    fs.utime("/a", (1, 2.5))
    found = fs.stat("/a")
    assert (found.st_atime_ns, found.st_mtime_ns) == (1_000_000_000, 2_500_000_000)
    fs.utime("/a", ns=(-1, 3))
    found = fs.stat("/a")
    assert (found.st_atime_ns, found.st_mtime_ns) == (-1, 3)
    assert found.st_mtime == pytest.approx(3e-9)
    fs.utime("/a")
    assert abs(fs.stat("/a").st_mtime - time.time()) < 5
    with pytest.raises(ValueError):
        fs.utime("/a", (1, 2), ns=(1, 2))
    for wrong in ((float("inf"), 1), (1, float("nan")), (1 << 70, 1)):
        with pytest.raises(ValueError):
            fs.utime("/a", wrong)
    with pytest.raises(TypeError):
        fs.utime("/a", ("1", "2"))
    fs.symlink("a", "/link")
    fs.utime("/link", (7, 8), follow_symlinks=False)
    assert fs.lstat("/link").st_mtime == 8
    assert fs.stat("/link").st_mtime != 8


def test_every_change_gets_a_later_time(fs):
    times = []
    for number in range(50):
        fs.write_bytes("/a", b"%d" % number)
        times.append(fs.stat("/a").st_mtime_ns)
    assert times == sorted(set(times))


def test_modes_and_owners(fs):
    fs.write_bytes("/a", b"")
    fs.chmod("/a", 0o4711)
    assert stat.S_IMODE(fs.stat("/a").st_mode) == 0o4711
    fs.chown("/a", 5, -1)
    fs.chown("/a", -1, 6)
    assert (fs.stat("/a").st_uid, fs.stat("/a").st_gid) == (5, 6)
    with pytest.raises(ValueError):
        fs.chown("/a", -2, 0)
    with pytest.raises(FileNotFoundError):
        fs.chmod("/none", 0o600)


def test_extended_attributes(fs):
    fs.write_bytes("/a", b"")
    assert fs.listxattr("/a") == []
    fs.setxattr("/a", "user.one", b"1")
    fs.setxattr("/a", b"user.two", bytearray(b"2"))
    assert sorted(fs.listxattr("/a")) == ["user.one", "user.two"]
    assert fs.getxattr("/a", "user.two") == b"2"
    with pytest.raises(FileExistsError):
        fs.setxattr("/a", "user.one", b"", os.XATTR_CREATE)
    with pytest.raises(OSError) as caught:
        fs.setxattr("/a", "user.three", b"", os.XATTR_REPLACE)
    assert caught.value.errno == 61
    fs.removexattr("/a", "user.one")
    with pytest.raises(OSError) as caught:
        fs.getxattr("/a", "user.one")
    assert (caught.value.errno, caught.value.filename) == (61, "/a")


def test_kinds(fs):
    fs.write_bytes("/file", b"")
    fs.mkdir("/dir")
    fs.symlink("file", "/link")
    table = {
        "/file": (True, True, False, False),
        "/dir": (True, False, True, False),
        "/link": (True, True, False, True),
        "/none": (False, False, False, False),
        "/file/x": (False, False, False, False),
        "": (False, False, False, False),
        "/..": (False, False, False, False),
        "/a\0b": (False, False, False, False),
        "/" + "x" * 256: (False, False, False, False),
    }
    for path, expected in table.items():
        for spelled in (path, path.encode()):
            found = (
                fs.exists(spelled),
                fs.is_file(spelled),
                fs.is_dir(spelled),
                fs.is_symlink(spelled),
            )
            assert found == expected, spelled
