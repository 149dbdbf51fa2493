"""Extracting zip and tar archives into a filesystem.

What an archive says of names and sizes is not believed: no name leads out of the destination, and
no more is decompressed than the quota has room for."""

from __future__ import annotations

import errno
import io
import os
import posixpath
import stat
import tarfile
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Literal, Self, cast

from brimfs.compat import _paths
from brimfs.compat.dmemfs import _exceptions as errors
from brimfs.compat.dmemfs._file import DirNode, FileNode

if TYPE_CHECKING:
    from brimfs.compat.dmemfs._fs import MemoryFileSystem

__all__ = ["ArchiveAdapter", "expand_archive", "expand_archive_streaming"]

_Source = Any
"""A path of the host, bytes, or a binary file object that can seek."""


class ArchiveMissing(FileNotFoundError, ValueError):
    """There is no such archive on the host (errno ENOENT)."""


class UnsafeName(ValueError):
    """A name in an archive that leads out of the destination."""


class ArchiveAdapter(ABC):
    """One format of archives. A class of it is made with the source, and used in a `with`
    statement.
    """

    @classmethod
    def can_handle(cls, source: str | io.BytesIO) -> bool:
        """Whether the source is such an archive. An exception means no."""
        del source
        return False

    @abstractmethod
    def members(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name, as the archive has it, and the content of each file."""

    def close(self) -> None:  # noqa: B027 # nothing to do is a good default
        """Let the source go."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class _Streams(ArchiveAdapter):
    """An adapter that gives its files as streams, so that they can be read up to a limit."""

    @abstractmethod
    def streams(self) -> Iterator[tuple[str, int, IO[bytes]]]:
        """Yield the name, the size that the archive states, and the content."""

    def members(self) -> Iterator[tuple[str, bytes]]:
        for name, _, stream in self.streams():
            yield name, stream.read()


class ZipAdapter(_Streams):
    """Zip archives. Directories and symbolic links in them are left out."""

    def __init__(self, source: str | io.BytesIO) -> None:
        self._archive = zipfile.ZipFile(source)

    @classmethod
    def can_handle(cls, source: str | io.BytesIO) -> bool:
        return zipfile.is_zipfile(source)

    def streams(self) -> Iterator[tuple[str, int, IO[bytes]]]:
        for info in self._archive.infolist():
            if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
                continue
            # By the entry, not by its name, which another one may have too.
            with self._archive.open(info) as stream:
                yield info.filename, info.file_size, stream

    def close(self) -> None:
        self._archive.close()


class TarAdapter(_Streams):
    """Tar archives, plain or compressed by gzip, bzip2 or xz. Only regular files are taken."""

    def __init__(self, source: str | io.BytesIO) -> None:
        if isinstance(source, str):
            self._archive = tarfile.open(source)
        else:
            self._archive = tarfile.open(fileobj=source)

    @classmethod
    def can_handle(cls, source: str | io.BytesIO) -> bool:
        return tarfile.is_tarfile(source)

    def streams(self) -> Iterator[tuple[str, int, IO[bytes]]]:
        for member in self._archive:
            if member.isreg() and (stream := self._archive.extractfile(member)) is not None:
                with stream:
                    yield member.name, member.size, stream

    def close(self) -> None:
        self._archive.close()


_ADAPTERS: tuple[type[ArchiveAdapter], ...] = (ZipAdapter, TarAdapter)


def expand_archive(
    mfs: MemoryFileSystem,
    source: _Source,
    dest: str = "/",
    *,
    on_conflict: Literal["raise", "overwrite"] = "raise",
    adapter: ArchiveAdapter | None = None,
    adapters: list[type[ArchiveAdapter]] | None = None,
    on_unsafe: Literal["rename", "reject"] = "rename",
    max_entries: int | None = None,
) -> None:
    """Extract all files of an archive below `dest`, all or nothing.

    source: a path of the host, bytes, or a binary file object that can seek.
    on_conflict: what to do with files that are there, or twice in the archive: "raise" is a
        `FileExistsError`, "overwrite" takes the last with a `UserWarning`. A directory in the
        place of a file is always an `IsADirectoryError`.
    adapter: reads the archive, whatever the source is. adapters: classes to find one among.
    on_unsafe: names that are absolute or have `..` are made harmless ("rename") or are a
        `ValueError`.
    max_entries: more files than that are a `ValueError`.

    Raises `ValueError` if no adapter knows the source, and the errors of limits, before more than
    the quota is decompressed."""
    _check_option(on_conflict, ("raise", "overwrite"), "on_conflict")
    base = _paths.parts(dest)
    collected: dict[str, bytes] = {}
    with _adapter(source, adapter, adapters) as opened:
        entries = _Entries(opened, on_unsafe, max_entries)
        room = mfs.stats()["quota_bytes"]
        for components in entries.names():
            path = _paths.joined((*base, *components))
            if path in collected:
                _conflict(path, on_conflict, "is twice in the archive")
                room += len(collected.pop(path))
            elif _is_taken(mfs, path):
                _conflict(path, on_conflict, "is replaced")
            content = entries.content(room, path)
            room -= len(content)
            collected[path] = content
    mfs.import_tree(collected)


def expand_archive_streaming(
    mfs: MemoryFileSystem,
    source: _Source,
    dest: str = "/",
    *,
    on_conflict: Literal["raise", "overwrite", "skip"] = "raise",
    adapter: ArchiveAdapter | None = None,
    adapters: list[type[ArchiveAdapter]] | None = None,
    on_unsafe: Literal["rename", "reject"] = "rename",
    max_entries: int | None = None,
) -> int:
    """Extract the files of an archive below `dest` one after the other. Returns how many were
    written.

    As `expand_archive`, but what was extracted before an error stays, and `on_conflict="skip"`
    keeps what is there."""
    _check_option(on_conflict, ("raise", "overwrite", "skip"), "on_conflict")
    base = _paths.parts(dest)
    written: set[str] = set()
    count = 0
    with _adapter(source, adapter, adapters) as opened:
        entries = _Entries(opened, on_unsafe, max_entries)
        for components in entries.names():
            path = _paths.joined((*base, *components))
            if _is_taken(mfs, path):
                if on_conflict == "skip":
                    continue
                what = "is twice in the archive" if path in written else "is replaced"
                _conflict(path, on_conflict, what)
            _write(mfs, path, entries)
            written.add(path)
            count += 1
    return count


def _write(mfs: MemoryFileSystem, path: str, entries: _Entries) -> None:
    tree = mfs._tree
    with tree.lock:
        old = tree.get(path)
        free = tree.ledger.quota - tree.ledger.used
        if type(old) is FileNode:
            free += tree.ledger.charge_of(old)
    content = entries.content(free, path)
    mfs.mkdir(posixpath.dirname(path), exist_ok=True)
    try:
        with mfs.open(path, "wb") as file:
            file.write(content)
    except OSError:
        if old is None and mfs.is_file(path):
            mfs.remove(path)
        raise


class _Entries:
    """The files of an archive, with the names that they get."""

    def __init__(self, adapter: ArchiveAdapter, on_unsafe: str, max_entries: int | None) -> None:
        _check_option(on_unsafe, ("rename", "reject"), "on_unsafe")
        self._adapter = adapter
        self._rejects = on_unsafe == "reject"
        self._max_entries = max_entries
        self._content: bytes | IO[bytes] = b""
        self._size = 0

    def names(self) -> Iterator[tuple[str, ...]]:
        for number, (raw, size, content) in enumerate(self._files(), 1):
            if self._max_entries is not None and number > self._max_entries:
                raise ValueError(f"the archive has more than {self._max_entries} files")
            self._size, self._content = size, content
            if components := self._safe(raw):
                yield components

    def _files(self) -> Iterator[tuple[str, int, bytes | IO[bytes]]]:
        if isinstance(self._adapter, _Streams):
            yield from self._adapter.streams()
        else:
            for name, content in self._adapter.members():
                yield name, len(content), content

    def _safe(self, raw: str) -> tuple[str, ...]:
        name = raw.replace("\\", "/")
        if self._rejects and (name.startswith("/") or ".." in name.split("/") or name[1:2] == ":"):
            raise UnsafeName(f"unsafe name in the archive: {raw!r}")
        normal = posixpath.normpath(name.lstrip("/"))
        return tuple(part for part in normal.split("/") if part not in ("", ".", ".."))

    def content(self, room: int, path: str) -> bytes:
        """The content of the file whose name came last. More than `room` bytes are an error of
        the quota.
        """
        if self._size > room:
            raise _over_quota(self._size, room, path)
        if isinstance(self._content, bytes):
            return self._content
        content = self._content.read(max(room, 0) + 1)
        if len(content) > room:
            raise _over_quota(len(content), room, path)
        return content


def _over_quota(requested: int, available: int, path: str) -> errors.MFSQuotaExceededError:
    error = errors.MFSQuotaExceededError(requested, available)
    error.filename = path
    return error


def _is_taken(mfs: MemoryFileSystem, path: str) -> bool:
    with mfs._tree.lock:
        node = mfs._tree.get(path)
    if type(node) is DirNode:
        raise errors.is_directory(path)
    return node is not None


def _conflict(path: str, on_conflict: str, what: str) -> None:
    if on_conflict == "raise":
        raise FileExistsError(errno.EEXIST, f"The file {what}", path)
    warnings.warn(f"{path!r} {what}", UserWarning, stacklevel=3)


def _check_option(value: str, allowed: tuple[str, ...], name: str) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _adapter(
    source: _Source,
    adapter: ArchiveAdapter | None,
    adapters: list[type[ArchiveAdapter]] | None,
) -> ArchiveAdapter:
    if adapter is not None:
        return adapter
    if isinstance(source, os.PathLike):
        source = os.fsdecode(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    if isinstance(source, str) and not os.path.exists(source):
        raise ArchiveMissing(errno.ENOENT, os.strerror(errno.ENOENT), source)
    for kind in _ADAPTERS if adapters is None else adapters:
        if _handles(kind, source):
            # An adapter is made with its source, which the base class cannot say.
            return cast(Any, kind)(source)  # type: ignore[no-any-return]
    raise ValueError("no adapter knows this archive")


def _handles(kind: type[ArchiveAdapter], source: _Source) -> bool:
    position = source.tell() if hasattr(source, "tell") else None
    try:
        return bool(kind.can_handle(source))
    except Exception:
        return False
    finally:
        if position is not None:
            source.seek(position)
