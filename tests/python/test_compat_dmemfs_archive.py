"""Archives in dmemfs: what goes where, and what hostile ones cannot do."""

from __future__ import annotations

import io
import stat
import tarfile
import warnings
import zipfile

import pytest

from brimfs.compat.dmemfs import (
    ArchiveAdapter,
    MemoryFileSystem,
    MFSQuotaExceededError,
    expand_archive,
    expand_archive_streaming,
)


@pytest.fixture
def mfs():
    return MemoryFileSystem(1 << 20)


@pytest.fixture(params=[expand_archive, expand_archive_streaming])
def expand(request):
    return request.param


def zipped(*members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)
    buffer.seek(0)
    return buffer


def tarred(*members, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members:
            if isinstance(name, tarfile.TarInfo):
                archive.addfile(name)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    return buffer


MEMBERS = (("a.txt", b"1"), ("d/b.txt", b"22"))


@pytest.mark.parametrize(
    "make",
    [zipped, tarred] + [lambda *m, c=c: tarred(*m, mode=f"w:{c}") for c in ("gz", "bz2", "xz")],
)
@pytest.mark.parametrize("kind", ["stream", "bytes", "str", "path", "file"])
def test_formats_and_sources(mfs, expand, make, kind, tmp_path):
    buffer = make(*MEMBERS)
    place = tmp_path / "archive"
    place.write_bytes(buffer.getvalue())
    source = {
        "stream": buffer,
        "bytes": buffer.getvalue(),
        "str": str(place),
        "path": place,
        "file": place.open("rb"),
    }[kind]
    result = expand(mfs, source, "/in/side/")
    assert result == (None if expand is expand_archive else 2)
    assert mfs.export_tree() == {"/in/side/a.txt": b"1", "/in/side/d/b.txt": b"22"}
    if hasattr(source, "close"):
        source.close()


def test_what_is_no_archive(mfs, expand, tmp_path):
    for source in (io.BytesIO(b"nothing"), b"nothing", str(tmp_path)):
        with pytest.raises(ValueError):
            expand(mfs, source)
    with pytest.raises(FileNotFoundError):
        expand(mfs, "/no/such/archive.zip")
    with pytest.raises(ValueError):
        expand(mfs, "/no/such/archive.zip")
    with pytest.raises(ValueError):
        expand(mfs, zipped(*MEMBERS), on_conflict="other")
    with pytest.raises(ValueError):
        expand_archive(mfs, zipped(*MEMBERS), on_conflict="skip")
    with pytest.raises(ValueError):
        expand(mfs, zipped(*MEMBERS), "/../x")
    assert mfs.stats()["file_count"] == 0


def test_conflicts(mfs, expand):
    mfs.import_tree({"/a.txt": b"old"})
    with pytest.raises(FileExistsError):
        expand(mfs, zipped(*MEMBERS))
    assert mfs.export_tree() == {"/a.txt": b"old"}
    with pytest.warns(UserWarning, match="is replaced|is twice"):
        expand(mfs, zipped(*MEMBERS), on_conflict="overwrite")
    assert mfs.export_tree() == {"/a.txt": b"1", "/d/b.txt": b"22"}
    for on_conflict in ("raise", "overwrite"):
        with pytest.raises(IsADirectoryError):
            expand(mfs, zipped(("d", b"")), on_conflict=on_conflict)


def test_skipping(mfs):
    mfs.import_tree({"/a.txt": b"old"})
    assert expand_archive_streaming(mfs, zipped(*MEMBERS), on_conflict="skip") == 1
    assert mfs.export_tree() == {"/a.txt": b"old", "/d/b.txt": b"22"}


def test_names_that_are_there_twice(expand):
    twice = (("a", b"first"), ("a", b"second"))
    with pytest.raises(FileExistsError):
        expand(MemoryFileSystem(), zipped(*twice))
    mfs = MemoryFileSystem()
    with pytest.warns(UserWarning, match="is replaced|is twice"):
        count = expand(mfs, zipped(*twice), on_conflict="overwrite")
    assert mfs.export_tree() == {"/a": b"second"}
    assert count in (None, 2)
    mfs = MemoryFileSystem()
    assert expand_archive_streaming(mfs, zipped(*twice), on_conflict="skip") == 1
    assert mfs.export_tree() == {"/a": b"first"}


HOSTILE = (("../../etc/passwd", b"1"), ("/abs", b"2"), ("x/../../y", b"3"), ("C:\\w\\x", b"4"))


@pytest.mark.parametrize("make", [zipped, tarred])
def test_no_name_leads_out(mfs, expand, make):
    expand(mfs, make(*HOSTILE, ("..", b""), ("./", b"")), "/in")
    assert mfs.export_tree() == {
        "/in/etc/passwd": b"1",
        "/in/abs": b"2",
        "/in/y": b"3",
        "/in/C:/w/x": b"4",
    }


@pytest.mark.parametrize("name", [name for name, _ in HOSTILE])
def test_names_that_lead_out_can_be_refused(mfs, expand, name):
    with pytest.raises(ValueError, match="unsafe"):
        expand(mfs, zipped((name, b"")), on_unsafe="reject")


def test_links_and_devices_are_left_out(mfs, expand):
    infos = []
    for number, kind in enumerate(
        (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    ):
        info = tarfile.TarInfo(f"n{number}")
        info.type, info.linkname = kind, "/etc/passwd"
        infos.append((info, None))
    expand(mfs, tarred(*infos, ("file", b"1")))
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    expand(mfs, zipped((link, b"/etc/passwd"), ("dir/", b""), ("other", b"2")))
    assert mfs.export_tree() == {"/file": b"1", "/other": b"2"}


def test_a_bomb_meets_the_quota_before_memory(expand):
    mfs = MemoryFileSystem(1000)
    with pytest.raises(MFSQuotaExceededError) as caught:
        expand(mfs, zipped(("bomb", bytes(50_000_000))))
    assert caught.value.filename == "/bomb"
    assert mfs.stats()["file_count"] == 0


def test_a_bomb_that_lies_about_its_size(expand):
    import tracemalloc

    buffer = bytearray(zipped(("bomb", bytes(50_000_000))).getvalue())
    # The size in the central directory, 24 bytes behind its signature.
    at = buffer.rindex(b"PK\1\2") + 24
    buffer[at : at + 4] = (10).to_bytes(4, "little")
    mfs = MemoryFileSystem(1000)
    tracemalloc.start()
    try:
        with pytest.raises((MFSQuotaExceededError, zipfile.BadZipFile)):
            expand(mfs, bytes(buffer))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert mfs.stats()["file_count"] == 0


def test_many_entries_can_be_refused(mfs, expand):
    with pytest.raises(ValueError, match="more than 2"):
        expand(mfs, zipped(*[(str(n), b"") for n in range(3)]), max_entries=2)


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_in_the_place_of_a_directory(mfs, expand, order):
    members = [("a", b"1"), ("a/b", b"2")][::order]
    with pytest.raises(OSError):
        expand(mfs, tarred(*members))
    mfs = MemoryFileSystem()
    expand(mfs, tarred(("file", b"")))
    with pytest.raises(FileExistsError):
        expand(mfs, tarred(("x", b"")), "/file")


def test_all_or_nothing(mfs):
    mfs = MemoryFileSystem(500)
    with pytest.raises(MFSQuotaExceededError):
        expand_archive(mfs, zipped(("a", b"x" * 100), ("b", b"x" * 1000)))
    assert (mfs.stats()["file_count"], mfs.stats()["used_bytes"]) == (0, 0)
    with pytest.raises(MFSQuotaExceededError):
        expand_archive_streaming(mfs, zipped(("a", b"x" * 100), ("b", b"x" * 1000)))
    assert mfs.export_tree() == {"/a": b"x" * 100}


def test_adapters(mfs, expand):
    class Lines(ArchiveAdapter):
        closed = False

        def __init__(self, source=None):
            self.source = source

        @classmethod
        def can_handle(cls, source):
            source.read()
            return True

        def members(self):
            for line in self.source.read().split():
                yield line.decode(), line

        def close(self):
            type(self).closed = True

    class Broken(Lines):
        @classmethod
        def can_handle(cls, source):
            source.read()
            raise RuntimeError("no")

    source = io.BytesIO(b"- a b")
    source.seek(2)
    expand(mfs, source, adapters=[Broken, Lines])
    assert mfs.export_tree() == {"/a": b"a", "/b": b"b"}
    assert Lines.closed
    expand(mfs, "ignored", "/c", adapter=Lines(io.BytesIO(b"d")))
    assert mfs.export_tree("/c") == {"/c/d": b"d"}
    with pytest.raises(TypeError):
        ArchiveAdapter()
    assert ArchiveAdapter.can_handle("x") is False


def test_an_encrypted_zip_is_the_error_of_the_standard_library(mfs, expand):
    buffer = bytearray(zipped(("a", b"1")).getvalue())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        buffer[buffer.index(signature) + offset] |= 1
    with pytest.raises(RuntimeError):
        expand(mfs, bytes(buffer))
    assert mfs.stats()["file_count"] == 0
