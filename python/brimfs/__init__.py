"""brimfs: a memory-first virtual filesystem.

>>> import brimfs
>>> with brimfs.FileSystem(quota="64MiB") as fs:
...     fs.write_text("/hello.txt", "hello")
...     with fs.open("/hello.txt") as file:
...         file.read()
5
'hello'

With a directory, `FileSystem("./data")`, everything is there again when it is opened the next time.

Paths are `str`, `bytes` or `os.PathLike`; relative ones start at the root. Sizes are bytes, or text
with a unit such as "512MiB" or "1.5GB". Every method can be called from many threads.
"""

from __future__ import annotations

import atexit
import io

from brimfs import _brimfs, _text
from brimfs._brimfs import (
    Budget,
    Diff,
    DirEntry,
    Event,
    Explanation,
    ExternalChanges,
    File,
    FileSystem,
    GcReport,
    LogEntry,
    Preload,
    PreloadReport,
    Stats,
    Transaction,
    Transferred,
    Usage,
    View,
    Watch,
    __version__,
)
from brimfs._errors import (
    ArchiveLimitExceeded,
    BadArchive,
    Cancelled,
    Conflict,
    EmptyPath,
    ExternalChange,
    Forked,
    InvalidPath,
    LockTimeout,
    MemoryLimitExceeded,
    NodeLimitExceeded,
    QuotaExceeded,
    ReadOnly,
    StoreInUse,
    UnsafeArchive,
)

__all__ = [
    "ArchiveLimitExceeded",
    "BadArchive",
    "Budget",
    "Cancelled",
    "Conflict",
    "Diff",
    "DirEntry",
    "EmptyPath",
    "Event",
    "Explanation",
    "ExternalChange",
    "ExternalChanges",
    "File",
    "FileSystem",
    "Forked",
    "GcReport",
    "InvalidPath",
    "LockTimeout",
    "LogEntry",
    "MemoryLimitExceeded",
    "NodeLimitExceeded",
    "Preload",
    "PreloadReport",
    "QuotaExceeded",
    "ReadOnly",
    "Stats",
    "StoreInUse",
    "Transaction",
    "Transferred",
    "UnsafeArchive",
    "Usage",
    "View",
    "Watch",
    "__version__",
]

# A class of the stable ABI cannot extend one of `io`; it can be known as one.
io.BufferedIOBase.register(File)

# Runs before the interpreter takes itself apart: closes what is open, and leaves adopted objects
# alone from then on.
atexit.register(_brimfs._shutdown)
# What is registered last runs first.
atexit.register(_text.flush_kept)

del atexit, io
