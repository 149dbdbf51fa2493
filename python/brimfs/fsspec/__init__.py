"""`brim://NAME/path` for fsspec, and so for pandas, polars, pyarrow, dask, zarr and the others.

>>> import fsspec
>>> with fsspec.open("brim://doc/hello.txt", "w") as file:
...     file.write("hello")
5
>>> fsspec.filesystem("brim").cat("brim://doc/hello.txt")
b'hello'

Each name is a store of its own, a `brimfs.FileSystem`, which the first write makes. It belongs to
the process and stays until `clear` forgets it. `store` hands it out, `register` gives a name to a
filesystem that exists already, such as one that is kept in a directory.
"""

from __future__ import annotations

try:
    from fsspec import register_implementation  # type: ignore[import-untyped]
except ImportError as _missing:
    raise ImportError(
        "brimfs.fsspec needs the package fsspec: pip install 'brimfs[fsspec]'"
    ) from _missing

from brimfs.fsspec.file import BrimFile
from brimfs.fsspec.filesystem import BrimFileSystem
from brimfs.fsspec.stores import clear, register, store

# What imports this module needs no entry point, and finds the class without another look-up.
register_implementation("brim", BrimFileSystem)
register_implementation("brimcache", "brimfs.fsspec.cache.BrimCacheFileSystem")

__all__ = ["BrimFile", "BrimFileSystem", "clear", "register", "store"]
