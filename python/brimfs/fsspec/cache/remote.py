"""What the cache asks of the filesystem behind it: which version a file has, and its bytes.

Never writes there, and keeps nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from fsspec.caching import BaseCache  # type: ignore[import-untyped]
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem  # type: ignore[import-untyped]

PIECE = 4 << 20
"""Bytes of one request; a file of up to so many is fetched by a single one."""

# fmt: off
_TELLING = frozenset((
    "etag", "digest", "checksum", "hex", "oid", "blobid", "rev", "versionid", "generation",
    "md5", "md5hash", "md5checksum", "contentmd5", "contenthash", "crc", "crc32c", "sha", "sha256",
    "mtime", "modified", "lastmodified", "modifiedtime", "servermodified", "timemodified",
    "modificationtime", "lastwritetime", "updated", "created", "timecreated", "ino",
))
"""What filesystems call the fields of `info` that change with the content, in small letters."""

_IRRELEVANT = frozenset((
    "asynchronous", "loop", "skip_instance_cache",
    "use_listings_cache", "listings_expiry_time", "max_paths",
))
"""Options that do not change which files a filesystem has."""
# fmt: on


class Version(NamedTuple):
    """What a file was at one moment."""

    key: str
    """Another one as soon as the remote tells that the file changed; the same in every process."""
    size: int | None
    """None where the remote does not say."""


class Source:
    """A file of a remote filesystem."""

    __slots__ = ("filesystem", "path")

    def __init__(self, filesystem: Any, path: str) -> None:
        self.filesystem = filesystem
        self.path = path

    def version(self) -> Version:
        """What it is now, which costs a request."""
        filesystem, path = self.filesystem, self.path
        # What a listing said a while ago is no answer.
        filesystem.invalidate_cache(path)
        filesystem.invalidate_cache(filesystem._parent(path))
        info = filesystem.info(path)
        if info.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        size = info.get("size")
        told = sorted((key, repr(value)) for key, value in info.items() if _tells(key))
        word = repr(told) if told else filesystem.ukey(path)
        return Version(hashlib.sha256(f"{size} {word}".encode()).hexdigest(), size)

    def pieces(self, size: int | None) -> Iterator[bytes]:
        """Its content from front to back."""
        if size is not None and size <= PIECE:
            yield self.filesystem.cat_file(self.path)
            return
        # A block size of nothing is how fsspec is told to stream from there, which every server can
        # do; not every one knows ranges, and those of one answer are of one version.
        options = {"block_size": 0} if _streams(self.filesystem) else {}
        with self.filesystem.open(self.path, "rb", **options) as file:
            if isinstance(file, AbstractBufferedFile) and file.size is not None:
                # Each byte is asked for once: nothing is to be read ahead, or kept.
                file.cache = BaseCache(0, file.cache.fetcher, file.size)
                for start in range(0, file.size, PIECE):
                    yield file.read(min(PIECE, file.size - start))
                return
            while piece := file.read(PIECE):
                yield piece


def identity(filesystem: Any) -> str:
    """Which filesystem it is, by its kind and options; the same in every process."""
    return hashlib.sha256(_word(filesystem).encode()).hexdigest()


def _streams(filesystem: Any) -> bool:
    protocol = filesystem.protocol
    return "http" in ([protocol] if isinstance(protocol, str) else protocol)


def _tells(field: str) -> bool:
    return field.lower().replace("-", "").replace("_", "") in _TELLING


def _word(value: Any) -> str:
    if isinstance(value, AbstractFileSystem):
        kind = type(value)
        options = {
            key: each for key, each in value.storage_options.items() if key not in _IRRELEVANT
        }
        return f"{kind.__module__}.{kind.__qualname__}{_word([value.storage_args, options])}"
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{key!r}: {_word(each)}' for key, each in value.items()))}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_word(each) for each in value)}]"
    return repr(value)
