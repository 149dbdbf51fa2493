"""What is raised when a limit of a filesystem is met, and how other errors are made."""

from __future__ import annotations

import errno
import os

__all__ = ["MFSNodeLimitExceededError", "MFSQuotaExceededError"]


class MFSQuotaExceededError(OSError):
    """The quota has no room for the bytes (errno ENOSPC). Nothing was changed."""

    requested: int
    """Bytes that the call needed in addition, what is charged for chunks included."""
    available: int
    """Bytes that were free."""

    def __init__(self, requested: int, available: int) -> None:
        super().__init__(
            errno.ENOSPC, f"quota exceeded: {requested} bytes needed, {available} available"
        )
        self.requested = requested
        self.available = available

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.requested, self.available), {"filename": self.filename}


class MFSNodeLimitExceededError(MFSQuotaExceededError):
    """There are as many files and directories as `max_nodes` allows (errno ENOSPC).

    `requested` and `available` count nodes here.
    """

    current: int
    """Nodes that there were, the root included."""
    limit: int
    """The limit."""

    def __init__(self, current: int, limit: int) -> None:
        super().__init__(current + 1, limit - current)
        self.args = (errno.ENOSPC, f"node limit exceeded: {current} nodes, at most {limit}")
        self.strerror = self.args[1]
        self.current = current
        self.limit = limit

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.current, self.limit), {"filename": self.filename}


class ParentIsFile(NotADirectoryError, FileExistsError):
    """A file stands where a directory would have to be made (errno ENOTDIR)."""


def missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def exists(path: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


def is_directory(path: str) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def not_directory(path: str) -> NotADirectoryError:
    return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def parent_is_file(path: str) -> ParentIsFile:
    return ParentIsFile(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def is_open(path: str) -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, "The file is open", path)


def lock_timeout(path: str) -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, "The file lock did not become free in time", path)


def into_itself(src: str, dst: str) -> OSError:
    return OSError(errno.EINVAL, "Cannot move a directory into itself", src, None, dst)
