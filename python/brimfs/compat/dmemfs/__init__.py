"""The interface of D-MemFS 0.4 (`import dmemfs`) on brimfs.

>>> from brimfs.compat.dmemfs import MemoryFileSystem
>>> fs = MemoryFileSystem(max_quota=1024 * 1024)
>>> fs.mkdir("/data")
>>> with fs.open("/data/a.bin", "wb") as file:
...     file.write(b"hello")
5
>>> fs.stats()["used_bytes"]
133

Calls, results, exceptions and what is charged are that package's. `install()` makes `import
dmemfs` find this one. What it adds: `MemoryFileSystem.replace` and `view`, and `errno` and
`filename` on errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brimfs.compat.dmemfs._archive import (
    ArchiveAdapter,
    expand_archive,
    expand_archive_streaming,
)
from brimfs.compat.dmemfs._exceptions import MFSNodeLimitExceededError, MFSQuotaExceededError
from brimfs.compat.dmemfs._fs import MemoryFileSystem
from brimfs.compat.dmemfs._handle import MemoryFileHandle
from brimfs.compat.dmemfs._text import MFSTextHandle
from brimfs.compat.dmemfs._typing import MFSStatResult, MFSStats

if TYPE_CHECKING:
    from brimfs.compat.dmemfs._async import AsyncMemoryFileHandle, AsyncMemoryFileSystem

__all__ = [
    "ArchiveAdapter",
    "AsyncMemoryFileHandle",
    "AsyncMemoryFileSystem",
    "MFSNodeLimitExceededError",
    "MFSQuotaExceededError",
    "MFSStatResult",
    "MFSStats",
    "MFSTextHandle",
    "MemoryFileHandle",
    "MemoryFileSystem",
    "expand_archive",
    "expand_archive_streaming",
]

__version__ = "0.4.1"
"""The version of the interface."""

_LAZY = ("AsyncMemoryFileHandle", "AsyncMemoryFileSystem")


def __getattr__(name: str) -> Any:
    # asyncio is loaded by those who use it.
    if name in _LAZY:
        from brimfs.compat.dmemfs import _async

        return getattr(_async, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def install() -> None:
    """Make `import dmemfs`, and of its submodules, find this package in this process."""
    from brimfs.compat import _install

    _install.install("dmemfs")
