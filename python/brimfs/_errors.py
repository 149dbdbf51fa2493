"""Exceptions of brimfs that extend built-in ones.

Whatever has a built-in class is raised as that: FileNotFoundError, FileExistsError,
NotADirectoryError, IsADirectoryError, BlockingIOError, or OSError with its errno. Every OSError has
`errno` and `filename`, and `filename2` where the call has two paths.
"""

from __future__ import annotations

from io import UnsupportedOperation

__all__ = [
    "ArchiveLimitExceeded",
    "BadArchive",
    "Cancelled",
    "Conflict",
    "EmptyPath",
    "ExternalChange",
    "Forked",
    "InvalidPath",
    "LockTimeout",
    "MemoryLimitExceeded",
    "NodeLimitExceeded",
    "QuotaExceeded",
    "ReadOnly",
    "StoreInUse",
    "UnsafeArchive",
    "UnsupportedOperation",
]


class QuotaExceeded(OSError):
    """The quota has no room for the bytes (errno ENOSPC). Nothing was changed."""

    requested: int | None = None
    """Bytes that the call needed in addition."""
    used: int | None = None
    """Bytes that were in use."""
    limit: int | None = None
    """The limit in bytes."""
    available: int | None = None
    """Bytes that were free."""


class NodeLimitExceeded(QuotaExceeded):
    """The filesystem holds as many nodes as `max_nodes` allows (errno ENOSPC).

    The numbers count nodes: files, directories and symbolic links, the root included.
    """


class MemoryLimitExceeded(OSError, MemoryError):
    """No memory within the limit, or none on the machine (errno ENOMEM). Nothing was changed."""

    requested: int | None = None
    """Bytes that the call needed in addition, where known."""
    used: int | None = None
    """Resident bytes, where known."""
    limit: int | None = None
    """The limit in bytes, where known."""
    available: int | None = None
    """Bytes that were free, where known."""


class InvalidPath(OSError, ValueError):
    """A path that can name nothing: with a NUL byte, or leading above the root (errno EINVAL)."""


class EmptyPath(InvalidPath, FileNotFoundError):
    """The empty path (errno ENOENT, as the operating system has it)."""


class LockTimeout(TimeoutError):
    """The file lock did not become free in time (errno ETIMEDOUT). The message names the holder."""


class ReadOnly(OSError):
    """A change of a filesystem that was opened with `read_only=True` (errno EROFS)."""


class ExternalChange(OSError):
    """Somebody else changed a file of the host that a filesystem mirrors (errno ESTALE).

    The message names it. `FileSystem.refresh("reload")` or `refresh("keep")` says who wins.
    """


class Conflict(OSError):
    """Somebody else changed what a transaction changes, after it began (errno ESTALE).

    `filename` is the path of it when the transaction began. Nothing was changed: begin again.
    """


class StoreInUse(OSError):
    """Somebody has the store open, this process or another one (errno EBUSY).

    The message names the process, unless it only reads.
    """


class Forked(OSError):
    """A forked child used a filesystem of its parent (errno ENXIO). Make a new one there."""


class BadArchive(OSError):
    """An archive is truncated, damaged, or contradicts itself (errno EBADMSG)."""


class UnsafeArchive(BadArchive):
    """An archive holds what must not be extracted (errno EPERM).

    A name that leads out of the destination, a link, or a device; the message names it. A link that
    is not to be copied to or from the host is this too.
    """


class ArchiveLimitExceeded(BadArchive):
    """An archive holds more than `extract` allows (errno EOVERFLOW). The message says of what."""


class Cancelled(OSError):
    """A progress callback returned False (errno ECANCELED)."""
