"""Zero copy, told by identity and by address."""

from __future__ import annotations

import ctypes
import gc
import sys

import numpy as np
import pytest

import brimfs

SIZES = [513, 4096, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 16 << 20]


def address(buffer) -> int:
    return np.frombuffer(buffer, dtype=np.uint8).ctypes.data


@pytest.mark.parametrize("size", SIZES)
def test_an_adopted_object_comes_back(fs, size):
    content = bytes(size)
    fs.write_bytes("/a", content)
    assert fs.read_bytes("/a") is content
    assert fs.read_bytes("/a") is content
    assert fs.stats().quota_used == size
    assert address(fs.view("/a")) == address(content)
    # A view changes how the content is held, not what comes back.
    assert fs.read_bytes("/a") is content
    with fs.open("/a", "rb") as file:
        assert address(file.getbuffer()) == address(content)
    fs.copy("/a", "/b")
    assert fs.read_bytes("/b") is content
    assert fs.stats().quota_used == size


@pytest.mark.parametrize("size", SIZES)
def test_the_reference_is_given_back(fs, size):
    content = bytes(size)
    before = sys.getrefcount(content)
    fs.write_bytes("/a", content)
    assert sys.getrefcount(content) == before + 1
    fs.write_bytes("/a", b"other")
    assert sys.getrefcount(content) == before
    fs.write_bytes("/a", content)
    again = fs.read_bytes("/a")
    assert sys.getrefcount(content) == before + 2
    del again
    fs.remove("/a")
    assert sys.getrefcount(content) == before
    fs.write_bytes("/a", content)
    view = fs.view("/a")
    fs.remove("/a")
    assert sys.getrefcount(content) == before + 1
    del view
    gc.collect()
    assert sys.getrefcount(content) == before
    with brimfs.FileSystem(memory_limit="64MiB") as other:
        other.write_bytes("/a", content)
    del other
    assert sys.getrefcount(content) == before


def test_a_refused_write_gives_the_reference_back():
    with brimfs.FileSystem(quota=100, memory_limit="64MiB") as fs:
        content = bytes(5000)
        before = sys.getrefcount(content)
        for _ in range(5):
            with pytest.raises(brimfs.QuotaExceeded):
                fs.write_bytes("/a", content)
        assert sys.getrefcount(content) == before
        with pytest.raises(FileNotFoundError):
            fs.write_bytes("/none/a", content)
        assert sys.getrefcount(content) == before


def test_an_adopted_object_never_changes(fs):
    content = b"x" * 5000
    fs.write_bytes("/a", content)
    with fs.open("/a", "r+b") as file:
        file.write(b"y")
        assert file.read(1) == b"x"
    fs.append_bytes("/a", b"z")
    fs.truncate("/a", 10)
    assert content == b"x" * 5000
    assert fs.read_bytes("/a") == b"yxxxxxxxxx"


def test_small_and_special_objects_are_copied(fs):
    class Mine(bytes):
        pass

    for content in (b"x" * 512, Mine(b"x" * 5000), bytearray(5000)):
        before = sys.getrefcount(content)
        fs.write_bytes("/a", content)
        assert sys.getrefcount(content) == before
        assert fs.read_bytes("/a") == content
        assert type(fs.read_bytes("/a")) is bytes


def test_numpy_shares_the_memory_of_a_view(fs):
    numbers = np.arange(1_000_000, dtype=np.int64)
    with fs.open("/a", "wb") as file:
        file.write(numbers)
    view = fs.view("/a")
    array = np.frombuffer(view, dtype=np.int64)
    assert np.array_equal(array, numbers)
    assert not array.flags.writeable
    assert address(view) == array.ctypes.data
    assert address(fs.view("/a")) == array.ctypes.data
    del view
    fs.remove("/a")
    gc.collect()
    assert np.array_equal(array, numbers)
    assert fs.stats().views == 1
    del array
    gc.collect()
    assert fs.stats().views == 0
    assert fs.stats().quota_used == 0


def test_the_bytes_of_a_view_are_really_there(fs):
    content = bytes(range(256)) * 1000
    fs.write_bytes("/a", content)
    view = fs.view("/a")
    assert ctypes.string_at(address(view), len(view)) == content


PIECE = 1 << 20


def pieces(count: int) -> list[bytes]:
    return [bytes([number]) * PIECE for number in range(1, count + 1)]


def test_pieces_of_a_chunk_written_by_a_handle_come_back(fs):
    written = pieces(3)
    with fs.open("/a", "wb") as file:
        for piece in written:
            assert file.write(piece) == PIECE
        file.write(b"tail")
    with fs.open("/a", "rb") as file:
        assert all(file.read(PIECE) is piece for piece in written)
        assert file.read() == b"tail"
        # Anything but the piece itself is a copy of the bytes.
        file.seek(PIECE)
        assert file.read(PIECE + 1) == written[1] + written[2][:1]
        file.seek(5)
        assert file.read(PIECE) == written[0][5:] + written[1][:5]
    assert fs.read_bytes("/a") == b"".join(written) + b"tail"
    assert fs.stats().quota_used == 3 * PIECE + 4


def test_a_whole_read_by_a_handle_gives_the_object_back(fs):
    content = bytes(4096)
    fs.write_bytes("/a", content)
    with fs.open("/a", "rb") as file:
        assert file.read() is content
        assert file.read() == b""
        file.seek(1)
        assert file.read() == content[1:]


def test_a_change_leaves_adopted_pieces_as_they_were(fs):
    written = pieces(3)
    kept = [bytes(bytearray(piece)) for piece in written]
    references = [sys.getrefcount(piece) for piece in written]
    with fs.open("/a", "w+b") as file:
        for piece in written:
            file.write(piece)
        del piece
        file.seek(PIECE + 7)
        file.write(b"changed")
        file.truncate(2 * PIECE + 100)
        file.seek(0)
        expected = bytearray(b"".join(kept)[: 2 * PIECE + 100])
        expected[PIECE + 7 : PIECE + 14] = b"changed"
        assert file.read() == expected
    assert written == kept
    fs.remove("/a")
    assert [sys.getrefcount(piece) for piece in written] == references
    assert fs.stats().quota_used == 0


def test_a_piece_that_does_not_fit_changes_nothing(fs):
    with brimfs.FileSystem(quota=PIECE + 10, memory_limit="64MiB") as small:
        with small.open("/a", "wb") as file:
            file.write(pieces(1)[0])
            with pytest.raises(brimfs.QuotaExceeded):
                file.write(pieces(1)[0])
            assert file.tell() == PIECE
            file.write(b"0123456789")
        assert small.stats().quota_used == PIECE + 10
