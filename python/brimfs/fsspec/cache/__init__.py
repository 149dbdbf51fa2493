"""`brimcache::` in front of any filesystem of fsspec: whole files, within limits of both kinds.

>>> import fsspec
>>> fsspec.filesystem("memory").pipe("/doc/a.txt", b"hello")
>>> with fsspec.open("brimcache::memory://doc/a.txt", "rb") as file:
...     file.read()
b'hello'

The files are those of a `brimfs.FileSystem` that nobody else uses; with `store=DIRECTORY` it is
kept.
"""

from __future__ import annotations

try:
    import fsspec.implementations.chained  # type: ignore[import-untyped]  # noqa: F401
except ImportError as _missing:
    raise ImportError("brimcache:: needs fsspec 2025.10 or later") from _missing

from fsspec import register_implementation

from brimfs.fsspec.cache.filesystem import BrimCacheFileSystem
from brimfs.fsspec.cache.handles import CachedFile, WrittenFile
from brimfs.fsspec.cache.holding import CacheStats
from brimfs.fsspec.cache.settings import close_all

# Whoever finds the class by its name takes this one, without another look-up.
register_implementation("brimcache", BrimCacheFileSystem, clobber=True)

__all__ = ["BrimCacheFileSystem", "CacheStats", "CachedFile", "WrittenFile", "close_all"]
