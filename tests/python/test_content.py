"""Whole-file calls: bytes and text in and out."""

from __future__ import annotations

import array
import io

import pytest

import brimfs

SIZES = [0, 1, 22, 23, 511, 512, 513, 4096, 65536, 65537, 1 << 20, (1 << 20) + 1, 3_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_is_written_is_read(fs, size, kind):
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    assert fs.write_bytes("/a", kind(content)) == size
    assert fs.read_bytes("/a") == content
    assert type(fs.read_bytes("/a")) is bytes
    assert fs.stat("/a").st_size == size
    assert fs.stats().quota_used == size


def test_writing_replaces_the_whole_content(fs):
    for size in (5000, 10, 2_000_000, 0, 700):
        fs.write_bytes("/a", b"x" * size)
        assert fs.read_bytes("/a") == b"x" * size
        assert fs.stats().quota_used == size


def test_a_changed_bytearray_does_not_change_the_file(fs):
    source = bytearray(b"a" * 5000)
    fs.write_bytes("/a", source)
    source[:] = b"b" * 5000
    assert fs.read_bytes("/a") == b"a" * 5000


def test_any_buffer_is_written_as_its_bytes(fs):
    fs.write_bytes("/a", array.array("i", [1, 2, 3]))
    assert fs.read_bytes("/a") == array.array("i", [1, 2, 3]).tobytes()
    fs.write_bytes("/a", memoryview(b"abcdef")[1:4])
    assert fs.read_bytes("/a") == b"bcd"


def test_a_buffer_in_pieces_is_refused(fs):
    with pytest.raises((TypeError, BufferError)):
        fs.write_bytes("/a", memoryview(b"abcdef")[::2])
    assert not fs.exists("/a")


@pytest.mark.parametrize("wrong", ["text", 5, None, [1], object()])
def test_what_is_not_bytes_is_refused(fs, wrong):
    with pytest.raises(TypeError):
        fs.write_bytes("/a", wrong)
    with pytest.raises(TypeError):
        fs.append_bytes("/a", wrong)
    assert not fs.exists("/a")


def test_keywords_work_as_well(fs):
    fs.write_bytes(path="/a", data=b"one")
    assert fs.read_bytes(path="/a") == b"one"
    assert fs.exists(path="/a")
    fs.rename(src="/a", dst="/b")
    assert fs.listdir(path="/") == ["b"]
    fs.remove(path="/b")
    for call in (
        lambda: fs.read_bytes(),
        lambda: fs.read_bytes("/a", "/b"),
        lambda: fs.read_bytes("/a", path="/b"),
        lambda: fs.read_bytes(pth="/a"),
        lambda: fs.write_bytes("/a"),
    ):
        with pytest.raises(TypeError):
            call()


def test_appending(fs):
    assert fs.append_bytes("/a", b"one") == 3
    assert fs.append_bytes("/a", bytearray(b"two")) == 3
    assert fs.read_bytes("/a") == b"onetwo"
    fs.write_bytes("/b", b"x" * 5000)
    fs.append_bytes("/b", b"y")
    assert fs.read_bytes("/b") == b"x" * 5000 + b"y"


def test_truncating(fs):
    fs.write_bytes("/a", b"abcdef")
    fs.truncate("/a", 3)
    assert fs.read_bytes("/a") == b"abc"
    fs.truncate("/a", 6)
    assert fs.read_bytes("/a") == b"abc\0\0\0"
    fs.truncate("/a", 1 << 50)
    assert fs.stat("/a").st_size == 1 << 50
    assert fs.stats().quota_used <= 16 << 10
    fs.truncate("/a", 0)
    assert fs.stats().quota_used == 0


TEXTS = ["", "plain", "zeile\nzeile\n", "a\r\nb\rc\n", "schön 日本 🙂", "\ufeffbom"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", [None, "utf-8", "utf-16", "utf-8-sig"])
def test_text_is_as_the_built_in_files_have_it(fs, tmpfs, text, newline, encoding):
    with open(tmpfs / "a", "w", newline=newline, encoding=encoding or "utf-8") as file:
        file.write(text)
    fs.write_text("/a", text, newline=newline, encoding=encoding)
    assert fs.read_bytes("/a") == (tmpfs / "a").read_bytes()
    with fs.open("/b", "w", newline=newline, encoding=encoding) as file:
        file.write(text)
    assert fs.read_bytes("/b") == (tmpfs / "a").read_bytes()
    for again in (None, "", "\n", "\r", "\r\n"):
        with open(tmpfs / "a", newline=again, encoding=encoding or "utf-8") as file:
            expected = file.read()
        assert fs.read_text("/a", newline=again, encoding=encoding) == expected
        with fs.open("/a", newline=again, encoding=encoding) as file:
            assert file.read() == expected


def test_text_errors(fs):
    fs.write_bytes("/a", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        fs.read_text("/a")
    assert fs.read_text("/a", errors="replace") == "\ufffd"
    assert fs.read_text("/a", encoding="latin-1") == "ÿ"
    with pytest.raises(UnicodeEncodeError):
        fs.write_text("/b", "ÿ", encoding="ascii")
    with pytest.raises(LookupError):
        fs.write_text("/b", "x", encoding="no such codec")
    with pytest.raises(ValueError):
        fs.write_text("/b", "x", newline="x")
    with pytest.raises(TypeError):
        fs.write_text("/b", b"x")
    assert not fs.exists("/b")
    assert fs.write_text("/c", "ÿ€") == 2


def test_a_view_keeps_the_content_that_it_was_made_of(fs):
    fs.write_bytes("/a", b"before" * 1000)
    view = fs.view("/a")
    fs.write_bytes("/a", b"after")
    assert bytes(view) == view.tobytes() == b"before" * 1000
    assert len(view) == 6000
    assert view[0] == ord("b")
    assert bytes(view[6:12]) == b"before"
    memory = memoryview(view)
    assert memory.readonly
    assert memory.format == "B"
    assert memory.nbytes == 6000
    with pytest.raises(TypeError):
        memory[0] = 1
    with pytest.raises(BufferError):
        view.release()
    memory.release()
    view.release()
    for use in (lambda: bytes(view), lambda: len(view), lambda: memoryview(view)):
        with pytest.raises(ValueError):
            use()
    view.release()


def test_a_view_is_charged_until_it_is_gone(fs):
    fs.write_bytes("/a", b"x" * 3_000_000)
    with fs.view("/a"):
        fs.remove("/a")
        assert fs.stats().quota_used == 3_000_000
        assert fs.stats().views == 1
    assert fs.stats().quota_used == 0
    assert fs.stats().views == 0


def test_a_view_outlives_its_filesystem():
    fs = brimfs.FileSystem(memory_limit="64MiB")
    fs.write_bytes("/a", b"kept" * 1000)
    view = fs.view("/a")
    fs.close()
    del fs
    assert bytes(view) == b"kept" * 1000


def test_views_of_everything(fs):
    with fs.open("/grown", "wb") as file:
        for _ in range(40):
            file.write(b"x" * 70_000)
    with fs.open("/holes", "wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    fs.write_bytes("/empty", b"")
    fs.write_bytes("/tiny", b"tiny")
    for path in ("/grown", "/holes", "/empty", "/tiny"):
        assert bytes(fs.view(path)) == fs.read_bytes(path)
        with fs.open(path, "rb") as file:
            assert bytes(file.getbuffer()) == fs.read_bytes(path)


def test_a_text_file_is_the_real_thing(fs):
    with fs.open("/a", "w") as file:
        assert isinstance(file, io.TextIOWrapper)
        assert file.mode == "w"
        assert file.name == "/a"
        assert file.encoding == "utf-8"
        file.write("x")
        assert fs.stat("/a").st_size in (0, 1)
    with fs.open("/a", "r+", buffering=1) as file:
        assert file.line_buffering
        assert file.read() == "x"
        file.write("y\n")
        file.seek(0)
        assert list(file) == ["xy\n"]
