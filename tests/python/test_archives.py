"""Archives and trees of the host, with zipfile and tarfile as the independent peer."""

from __future__ import annotations

import errno
import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

import brimfs

PAGE = Path(__file__).parents[2] / "docs" / "archives.md"
TARS = {"tar": "", "tar.gz": "gz", "tar.bz2": "bz2", "tar.xz": "xz"}
FILES = {"a.txt": b"alpha", "d/b.bin": bytes(range(256)) * 9000, "d/e/ü.txt": b""}


def grow(fs: brimfs.FileSystem) -> None:
    fs.mkdir("/t/d/e", parents=True)
    for name, content in FILES.items():
        fs.write_bytes(f"/t/{name}", content)


def packed(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in FILES.items():
                archive.writestr(f"t/{name}", content)
    else:
        with tarfile.open(fileobj=stream, mode=f"w:{TARS[kind]}") as archive:
            for name, content in FILES.items():
                entry = tarfile.TarInfo(f"t/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def found(fs: brimfs.FileSystem, root: str) -> dict[str, bytes]:
    return {name: fs.read_bytes(f"{root}/{name}") for name in FILES}


@pytest.mark.parametrize("kind", ["zip", *TARS])
@pytest.mark.parametrize("atomic", [True, False])
def test_what_python_packs_is_extracted(fs, tmp_path, kind, atomic):
    data = packed(kind)
    on_host = tmp_path / "archive"
    on_host.write_bytes(data)
    fs.write_bytes("/archive", data)
    for archive, host in [(io.BytesIO(data), False), (on_host, True), ("/archive", False)]:
        done = fs.extract(archive, "/out", host=host, atomic=atomic)
        assert (done.files, done.bytes) == (3, sum(map(len, FILES.values())))
        assert found(fs, "/out/t") == FILES
        fs.rmtree("/out")


@pytest.mark.parametrize("kind", ["zip", *TARS])
def test_python_extracts_what_is_packed(fs, tmp_path, kind):
    grow(fs)
    stream = io.BytesIO()
    fs.archive("/t", stream, format=kind)
    on_host = tmp_path / f"x.{kind}"
    fs.archive(["/t"], on_host, host=True)
    assert [path.name for path in tmp_path.iterdir()] == [on_host.name]
    for source in (stream, on_host.open("rb")):
        source.seek(0)
        if kind == "zip":
            with zipfile.ZipFile(source) as archive:
                assert archive.testzip() is None
                content = {name: archive.read(f"t/{name}") for name in FILES}
        else:
            with tarfile.open(fileobj=source) as archive:
                content = {name: archive.extractfile(f"t/{name}").read() for name in FILES}
        assert content == FILES
        source.close()


def test_progress_is_told_and_can_end_the_call(fs):
    told = []
    fs.extract(
        io.BytesIO(packed("zip")),
        "/out",
        progress=lambda *progress: told.append(progress),
    )
    total = sum(map(len, FILES.values()))
    assert told[-1][:3] == (3, total, total)
    assert {name for *_, name in told} <= {f"t/{name}" for name in FILES}
    fs.rmtree("/out")
    with pytest.raises(brimfs.Cancelled) as caught:
        fs.extract(io.BytesIO(packed("tar")), "/out", progress=lambda *_: False)
    assert (caught.value.errno, caught.value.filename) == (errno.ECANCELED, "/out")

    def fail(*_):
        # Calls that the callback makes leave the interpreter lock where it was.
        fs.exists("/")
        raise KeyError("mine")

    for kind in ("zip", "tar.gz"):
        with pytest.raises(KeyError, match="mine"):
            fs.extract(io.BytesIO(packed(kind)), "/out", progress=fail)
    assert fs.listdir("/") == []


def test_streams_raise_what_they_raise(fs):
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise RuntimeError("no more")

        def write(self, data):
            raise RuntimeError("no room")

    grow(fs)
    for kind in ("zip", "tar.xz"):
        with pytest.raises(RuntimeError, match="no more"):
            fs.extract(Broken(), "/out", format=kind)
        with pytest.raises(RuntimeError, match="no room"):
            fs.archive("/t", Broken(), format=kind)
    assert fs.listdir("/") == ["t"]


def test_errors_have_their_class_errno_and_name(fs):
    unsafe = io.BytesIO()
    with zipfile.ZipFile(unsafe, "w") as archive:
        archive.writestr("../x", b"")
    bad = io.BytesIO(packed("zip")[:-1])
    for stream, kind, code, options in [
        (unsafe, brimfs.UnsafeArchive, errno.EPERM, {}),
        (bad, brimfs.BadArchive, errno.EBADMSG, {}),
        (
            io.BytesIO(packed("tar")),
            brimfs.ArchiveLimitExceeded,
            errno.EOVERFLOW,
            {"max_entries": 2},
        ),
    ]:
        stream.seek(0)
        with pytest.raises(kind) as caught:
            fs.extract(stream, "/out", **options)
        assert (caught.value.errno, caught.value.filename) == (code, "/out")
        assert fs.listdir("/") == []
    with pytest.raises(FileNotFoundError):
        fs.extract("/none", "/out")
    with pytest.raises(FileNotFoundError):
        fs.extract("/none", "/out", host=True)
    for option in ({"links": "x"}, {"on_conflict": "x"}, {"format": "rar"}, {"bad_names": "x"}):
        with pytest.raises(ValueError):
            fs.extract(io.BytesIO(), "/out", **option)


def test_trees_of_the_host_go_in_and_out(fs, tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    done = fs.import_tree(tmp_path / "in", "/t")
    assert (done.files, done.directories) == (3, 2)
    assert found(fs, "/t") == FILES
    fs.export_tree("/t", tmp_path / "out", filter=lambda path, is_dir: is_dir or path != "a.txt")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["d"]
    assert fs.export_tree("/t", tmp_path / "out", changed_only=True).files == 1
    assert (tmp_path / "out" / "d" / "b.bin").read_bytes() == FILES["d/b.bin"]
    with pytest.raises(FileExistsError):
        fs.export_tree("/t", tmp_path / "out")

    def fail(path, is_dir):
        raise KeyError(path)

    with pytest.raises(KeyError):
        fs.import_tree(tmp_path / "in", "/u", filter=fail)
    assert fs.listdir("/") == ["t"]


def test_the_snippets_run(run_script):
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) == 2
    done = run_script("\n".join(snippets))
    assert (done.returncode, done.stderr) == (0, "")
