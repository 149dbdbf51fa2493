"""The calls of `brimcache::` that the remote filesystem answers: names, sizes, times.

They cost what they cost there. Only content is cached.
"""

from __future__ import annotations

import os
from typing import Any

from fsspec.implementations.chained import ChainedFileSystem  # type: ignore[import-untyped]
from fsspec.utils import stringify_path  # type: ignore[import-untyped]

PROTOCOL = "brimcache"


class Asking(ChainedFileSystem):  # type: ignore[misc] # fsspec has no types
    """Names and what the remote says of them."""

    protocol = PROTOCOL
    fs: Any
    """The filesystem behind the cache."""

    def _remote_name(self, path: Any) -> Any:
        """The name as the remote takes it; a slash at its end stays, which can have a meaning."""
        if isinstance(path, (list, tuple, set)):
            return [self._remote_name(each) for each in path]
        name = stringify_path(path)
        return name.removeprefix(f"{PROTOCOL}::").removeprefix(f"{PROTOCOL}://")

    def _parent(self, path: Any) -> Any:
        return self.fs._parent(self._remote_name(path))

    def info(self, path: Any, **kwargs: Any) -> Any:
        return self.fs.info(self._remote_name(path), **kwargs)

    def ls(self, path: Any, detail: bool = True, **kwargs: Any) -> Any:
        return self.fs.ls(self._remote_name(path), detail=detail, **kwargs)

    def walk(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        return self.fs.walk(self._remote_name(path), *args, **kwargs)

    def find(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        return self.fs.find(self._remote_name(path), *args, **kwargs)

    def glob(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        return self.fs.glob(self._remote_name(path), *args, **kwargs)

    def du(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        return self.fs.du(self._remote_name(path), *args, **kwargs)

    def expand_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        return self.fs.expand_path(self._remote_name(path), *args, **kwargs)

    def exists(self, path: Any, **kwargs: Any) -> Any:
        return self.fs.exists(self._remote_name(path), **kwargs)

    def lexists(self, path: Any, **kwargs: Any) -> Any:
        return self.fs.lexists(self._remote_name(path), **kwargs)

    def isdir(self, path: Any) -> Any:
        return self.fs.isdir(self._remote_name(path))

    def isfile(self, path: Any) -> Any:
        return self.fs.isfile(self._remote_name(path))

    def size(self, path: Any) -> Any:
        return self.fs.size(self._remote_name(path))

    def sizes(self, paths: Any) -> Any:
        return self.fs.sizes(self._remote_name(paths))

    def created(self, path: Any) -> Any:
        return self.fs.created(self._remote_name(path))

    def modified(self, path: Any) -> Any:
        return self.fs.modified(self._remote_name(path))

    def checksum(self, path: Any) -> Any:
        return self.fs.checksum(self._remote_name(path))

    def ukey(self, path: Any) -> Any:
        return self.fs.ukey(self._remote_name(path))

    def sign(self, path: Any, expiration: int = 100, **kwargs: Any) -> Any:
        return self.fs.sign(self._remote_name(path), expiration=expiration, **kwargs)

    def invalidate_cache(self, path: Any = None) -> None:
        """Forget listings; `pop_from_cache` and `clear_cache` are about content."""
        super().invalidate_cache(path)
        self.fs.invalidate_cache(None if path is None else self._remote_name(path))


def is_one(path: Any) -> bool:
    """Whether that is a single path."""
    return isinstance(path, (str, os.PathLike))
