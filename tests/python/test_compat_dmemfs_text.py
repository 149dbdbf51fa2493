"""The text adapter of dmemfs."""

from __future__ import annotations

import io

import pytest

from brimfs.compat.dmemfs import MemoryFileSystem, MFSTextHandle

TEXT = "one\ntwo\r\nthree\rfour ä€😀\n\nlast"
LINES = ["one\n", "two\r\n", "three\r", "four ä€😀\n", "\n", "last"]
CODECS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "gb18030"]


@pytest.fixture
def mfs():
    return MemoryFileSystem()


def text(mfs, content, encoding="utf-8", errors="strict"):
    if isinstance(content, str):
        content = content.encode(encoding)
    mfs.import_tree({"/t": content})
    return MFSTextHandle(mfs.open("/t"), encoding, errors)


def close(adapter):
    adapter._handle.close()


@pytest.mark.parametrize("encoding", CODECS)
def test_lines(mfs, encoding):
    adapter = text(mfs, TEXT, encoding)
    assert list(adapter) == LINES
    assert (adapter.readline(), adapter.read(), adapter.read(3)) == ("", "", "")
    close(adapter)


@pytest.mark.parametrize("encoding", CODECS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_characters(mfs, encoding, size):
    adapter = text(mfs, TEXT, encoding)
    pieces = list(iter(lambda: adapter.read(size), ""))
    assert "".join(pieces) == TEXT
    assert {len(piece) for piece in pieces[:-1]} <= {size}
    close(adapter)


@pytest.mark.parametrize("encoding", CODECS)
def test_reading_in_turns(mfs, encoding):
    adapter = text(mfs, TEXT, encoding)
    assert (adapter.read(2), adapter.readline(), adapter.readline(2)) == ("on", "e\n", "tw")
    assert (adapter.readline(limit=0), adapter.read(0)) == ("", "")
    assert (adapter.readline(), adapter.readline(100), adapter.read()) == (
        "o\r\n",
        "three\r",
        "four ä€😀\n\nlast",
    )
    close(adapter)


def test_the_handle_stands_behind_what_was_read(mfs):
    adapter = text(mfs, TEXT)
    handle = adapter._handle
    adapter.readline()
    assert handle.tell() == 4
    adapter.read(2)
    assert handle.tell() == 6
    handle.seek(0)
    assert adapter.readline() == "one\n"
    close(adapter)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_was_written_is_read_through_the_same_handle(mfs, encoding):
    mfs.import_tree({"/t": b""})
    with mfs.open("/t", "r+b") as handle, MFSTextHandle(handle, encoding) as adapter:
        assert adapter.write("ä\r\n") == 3
        assert adapter.write("b") == 1
        handle.seek(0)
        assert adapter.read() == "ä\r\nb"
        handle.seek(0)
        assert list(adapter) == ["ä\r\n", "b"]
    assert mfs.export_tree()["/t"] == "ä\r\nb".encode(encoding)


def test_a_byte_order_mark_is_written_once(mfs):
    for number in range(2):
        with mfs.open("/t", "ab" if number else "wb") as handle:
            adapter = MFSTextHandle(handle, "utf-8-sig")
            adapter.write("a")
            adapter.write("b")
    assert mfs.export_tree()["/t"] == b"\xef\xbb\xbfabab"


def test_it_leaves_the_handle_open(mfs):
    with mfs.open("/t", "wb") as handle:
        with MFSTextHandle(handle) as adapter:
            adapter.write("x")
        handle.write(b"y")
    with pytest.raises(ValueError):
        adapter.write("z")


def test_wrong_types_and_codecs(mfs):
    with mfs.open("/t", "wb") as handle:
        adapter = MFSTextHandle(handle, errors="replace", encoding="ascii")
        assert (adapter.encoding, adapter.errors) == ("ascii", "replace")
        for wrong in (b"x", 5, None):
            with pytest.raises(TypeError):
                adapter.write(wrong)
        assert adapter.write("ä") == 1
        with pytest.raises(io.UnsupportedOperation):
            adapter.read()
        with pytest.raises(io.UnsupportedOperation):
            adapter.readline()
        unknown = MFSTextHandle(handle, "no-such-codec")
        with pytest.raises(LookupError):
            unknown.write("x")
        with pytest.raises(UnicodeEncodeError):
            MFSTextHandle(handle, "ascii").write("ä")
    assert mfs.export_tree()["/t"] == b"?"


def test_bytes_that_are_no_text(mfs):
    adapter = text(mfs, b"good\nb\xffd\nrest")
    assert adapter.readline() == "good\n"
    with pytest.raises(UnicodeDecodeError):
        adapter.readline()
    close(adapter)
    adapter = text(mfs, b"good\nb\xffd\n", errors="replace")
    assert list(adapter) == ["good\n", "b\ufffdd\n"]
    close(adapter)
    adapter = text(mfs, b"ab\xffcd", errors="ignore")
    assert (adapter.read(3), adapter.read(3)) == ("abc", "d")
    close(adapter)
    adapter = text(mfs, b"abc\xff")
    assert adapter.read(3) == "abc"
    with pytest.raises(UnicodeDecodeError):
        adapter.read(1)
    close(adapter)


def test_lines_longer_than_a_block(mfs):
    lines = ["x" * 8191 + "\r\n", "y" * 20_000 + "\r", "\n", "z" * 8192 + "\n", "ä" * 9000]
    for mode in ("rb", "r+b"):
        mfs.import_tree({"/t": "".join(lines).encode()})
        with mfs.open("/t", mode) as handle:
            expected = [lines[0], lines[1] + "\n", *lines[3:]]
            assert list(MFSTextHandle(handle)) == expected


def test_any_binary_file_will_do():
    assert list(MFSTextHandle(io.BytesIO(TEXT.encode()))) == LINES
