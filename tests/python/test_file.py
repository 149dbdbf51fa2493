"""Handles: compared call by call with the files of the operating system."""

from __future__ import annotations

import errno
import gc
import io
import os
import warnings

import pytest

import brimfs

MODES = ["rb", "r+b", "wb", "w+b", "xb", "x+b", "ab", "a+b"]
CONTENT = b"first line\nsecond\n\nlast without an end" + bytes(range(256)) * 40

# Each step is (method, arguments).
STEPS = {
    "read": [("read", (4,)), ("read", ()), ("read", (1,)), ("read", (-1,)), ("read", (None,))],
    "read1": [("read1", (4,)), ("read1", (100_000,)), ("read1", (5,))],
    "seek": [
        ("seek", (5,)),
        ("read", (3,)),
        ("seek", (2, 1)),
        ("tell", ()),
        ("seek", (-4, 2)),
        ("read", (10,)),
        ("seek", (0,)),
        ("seek", (100_000,)),
        ("read", (1,)),
        ("tell", ()),
    ],
    "lines": [
        ("readline", ()),
        ("readline", (3,)),
        ("readline", (None,)),
        ("readline", ()),
        ("readlines", (1,)),
        ("readlines", ()),
        ("readline", ()),
    ],
    "write": [("write", (b"abc",)), ("tell", ()), ("write", (bytearray(b"def"),)), ("tell", ())],
    "write nothing": [("seek", (3,)), ("write", (b"",)), ("tell", ())],
    "writelines": [("writelines", ([b"a", bytearray(b"b"), memoryview(b"c")],)), ("tell", ())],
    "hole": [("seek", (50_000,)), ("write", (b"end",)), ("seek", (0,)), ("tell", ())],
    "truncate": [
        ("truncate", (3,)),
        ("tell", ()),
        ("truncate", (10,)),
        ("seek", (6,)),
        ("truncate", ()),
        ("seek", (0, 2)),
    ],
    "asks": [
        ("readable", ()),
        ("writable", ()),
        ("seekable", ()),
        ("isatty", ()),
        ("flush", ()),
        ("tell", ()),
    ],
    "closed": [("close", ()), ("close", ())],
}


def outcome(file, method, args):
    """The result of a call, or the kind of its error."""
    try:
        return getattr(file, method)(*args)
    except io.UnsupportedOperation:
        return io.UnsupportedOperation
    except OSError as error:
        return error.errno
    except (TypeError, ValueError) as error:
        return type(error)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("mode", MODES)
def test_a_handle_behaves_as_the_built_in_one(fs, tmpfs, mode, steps):
    if "x" not in mode:
        fs.write_bytes("/a", CONTENT)
        (tmpfs / "a").write_bytes(CONTENT)
    with fs.open("/a", mode) as ours, open(tmpfs / "a", mode) as theirs:
        assert ours.mode == theirs.mode
        assert ours.tell() == theirs.tell()
        for method, args in STEPS[steps]:
            assert outcome(ours, method, args) == outcome(theirs, method, args), (method, args)
    assert fs.read_bytes("/a") == (tmpfs / "a").read_bytes()


@pytest.mark.parametrize(
    "method",
    [
        "read",
        "readline",
        "readlines",
        "tell",
        "flush",
        "truncate",
        "readable",
        "writable",
        "seekable",
        "isatty",
        "fileno",
        "__enter__",
        "__iter__",
        "__next__",
        "peek",
        "read1",
    ],
)
def test_a_closed_handle_is_a_value_error(fs, method):
    file = fs.open("/a", "w+b")
    assert not file.closed
    file.close()
    assert file.closed
    with pytest.raises(ValueError, match="closed file"):
        getattr(file, method)()
    for call in (
        lambda: file.write(b"x"),
        lambda: file.seek(0),
        lambda: file.readinto(bytearray(1)),
        lambda: file.writelines([b"x"]),
        lambda: file.view(),
        lambda: file.getbuffer(),
    ):
        with pytest.raises(ValueError, match="closed file"):
            call()
    file.close()
    assert repr(file)


def test_it_is_a_buffered_file(fs):
    with fs.open("/a", "w+b") as file:
        assert isinstance(file, brimfs.File)
        assert isinstance(file, io.BufferedIOBase)
        assert isinstance(file, io.IOBase)
        assert not isinstance(file, io.TextIOBase)
        assert file.name == "/a"
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()
        with pytest.raises(io.UnsupportedOperation):
            file.detach()
        for name in dir(io.BytesIO()):
            if not name.startswith("_") and name not in ("getvalue",):
                assert hasattr(file, name), name
    with pytest.raises(TypeError):
        brimfs.File()


@pytest.mark.parametrize("size", [0, 1, 100, 65_536, 65_537, 3_000_000])
def test_readinto(fs, size):
    content = os.urandom(size)
    fs.write_bytes("/a", bytearray(content))
    with fs.open("/a", "rb") as file:
        for kind in (bytearray, lambda n: memoryview(bytearray(n))):
            file.seek(0)
            target = kind(size + 10)
            assert file.readinto(target) == size
            assert bytes(target) == content + bytes(10)
            assert file.readinto(target) == 0
        file.seek(0)
        small = bytearray(min(size, 7))
        assert file.readinto1(small) == len(small)
        assert small == content[:7]
        for wrong in (b"constant", "text", 5, memoryview(b"constant")):
            with pytest.raises((TypeError, BufferError)):
                file.readinto(wrong)
        with pytest.raises((TypeError, BufferError)):
            file.readinto(memoryview(bytearray(10))[::2])


def test_peek_does_not_advance(fs):
    fs.write_bytes("/a", b"x" * 20_000)
    with fs.open("/a", "rb") as file:
        assert len(file.peek()) == 8192
        assert file.peek(5)[:5] == b"xxxxx"
        assert file.tell() == 0
        file.seek(19_999)
        assert file.peek(100) == b"x"


def test_lines_of_all_lengths(fs):
    lines = [b"x" * length + b"\n" for length in (0, 1, 254, 255, 256, 257, 5000, 100_000)]
    fs.write_bytes("/a", b"".join(lines) + b"end")
    with fs.open("/a", "rb") as file:
        assert list(file) == [*lines, b"end"]
        file.seek(0)
        assert file.readline(0) == b""
        assert file.readlines() == [*lines, b"end"]
        file.seek(0)
        for line in lines:
            assert file.readline() == line
        assert file.tell() == sum(map(len, lines))
        file.seek(sum(map(len, lines[:-1])))
        assert file.readline(50_000) == b"x" * 50_000
        assert file.readline(50_000) == b"x" * 50_000
        assert file.readline(50_000) == b"\n"


def test_holes_can_be_found(fs):
    with fs.open("/a", "w+b") as file:
        file.seek(4 << 20)
        file.write(b"x" * 100)
        assert fs.stats().quota_used < 1 << 16
        start = file.seek(0, os.SEEK_DATA)
        assert (4 << 20) - (1 << 20) <= start <= 4 << 20
        assert file.seek(0, os.SEEK_HOLE) == 0
        assert file.seek(4 << 20, os.SEEK_HOLE) == (4 << 20) + 100
        with pytest.raises(OSError) as caught:
            file.seek(5 << 20, os.SEEK_DATA)
        assert caught.value.errno == errno.ENXIO
        with pytest.raises(ValueError):
            file.seek(0, 5)
        file.seek(0)
        assert file.read(10) == bytes(10)


def test_a_handle_that_nobody_closed_warns_and_unlocks(fs):
    files = [fs.open("/a", "wb")]
    with pytest.warns(ResourceWarning, match="unclosed file <brimfs.File name='/a' mode='wb'>"):
        files.clear()
    assert fs.stats().open_handles == 0
    files.append(fs.open("/a", "w"))
    files[0].write("kept")
    with pytest.warns(ResourceWarning, match="unclosed file"):
        files.clear()
    assert fs.stats().open_handles == 0
    assert fs.read_text("/a") == "kept"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fs.open("/a", "rb") as closed:
            closed.read()
        del closed
        gc.collect()


def test_an_unlinked_file_lives_as_long_as_its_handle(fs):
    fs.write_bytes("/a", b"x" * 100_000)
    with fs.open("/a", "rb") as file:
        fs.remove("/a")
        assert not fs.exists("/a")
        assert file.read() == b"x" * 100_000
        assert fs.stats().quota_used == 100_000
    assert fs.stats().quota_used == 0


def test_appending_goes_to_the_end(fs):
    fs.write_bytes("/a", b"one")
    with fs.open("/a", "a+b") as file:
        assert file.tell() == 3
        file.seek(0)
        assert file.read(1) == b"o"
        file.write(b"two")
        assert file.tell() == 6
    with fs.open("/a", "ab", lock="none") as one, fs.open("/a", "ab", lock="none") as two:
        for _ in range(3):
            one.write(b"1")
            two.write(b"2")
    assert fs.read_bytes("/a") == b"onetwo121212"


def test_reading_the_whole_of_an_adopted_file_gives_the_object(fs):
    content = b"x" * 100_000
    fs.write_bytes("/a", content)
    with fs.open("/a", "rb") as file:
        assert file.read() == content
        assert file.read() == b""


def test_a_function_called_by_the_file_may_use_the_file(fs):
    with fs.open("/a", "w+b") as file:
        file.writelines(str(file.tell()).encode() for _ in range(5))
        file.seek(0)
        assert file.read() == b"01234"


def test_wrong_arguments(fs):
    with fs.open("/a", "w+b") as file:
        for call in (
            lambda: file.read("1"),
            lambda: file.read(1.5),
            lambda: file.read(1, 2),
            lambda: file.write("text"),
            lambda: file.write(),
            lambda: file.write(None),
            lambda: file.seek(),
            lambda: file.seek(1.5),
            lambda: file.seek("1"),
            lambda: file.readline(1.5),
            lambda: file.truncate("1"),
            lambda: file.tell(1),
            lambda: file.close(1),
        ):
            with pytest.raises(TypeError):
                call()
        assert file.read(1 << 62) == b""
        assert file.read(1 << 100) == b""
        assert file.read(-(1 << 100)) == b""
        with pytest.raises(ValueError):
            file.seek(0, 99)


class Index:
    def __index__(self):
        return 2


def test_numbers_that_are_no_int(fs):
    fs.write_bytes("/a", b"abcdef")
    with fs.open("/a", "rb") as file:
        assert file.read(Index()) == b"ab"
        assert file.seek(Index()) == 2
        assert file.read(True) == b"c"
        assert file.readline(Index()) == b"de"


def test_getbuffer_shows_the_content_of_the_moment(fs):
    with fs.open("/a", "w+b") as file:
        file.write(b"x" * 100_000)
        buffer = file.getbuffer()
        file.seek(0)
        file.write(b"y")
        assert bytes(buffer[:2]) == b"xx"
        assert bytes(file.view()[:2]) == b"yx"
        assert buffer.readonly
