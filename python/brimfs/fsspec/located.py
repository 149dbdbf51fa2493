"""What a path of `brim://` leads to: the store that its first part names, and the path within it.

Every instance serves all stores. Below it the calls: `looking`, `changing`, `filesystem`.
"""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from typing import Any

from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]
from fsspec.utils import stringify_path  # type: ignore[import-untyped]

from brimfs import FileSystem
from brimfs.fsspec import stores as _stores
from brimfs.fsspec.stores import url

PROTOCOL = "brim://"
FSSPEC_OPTIONS = frozenset(
    ("asynchronous", "loop", "use_listings_cache", "listings_expiry_time", "max_paths")
)
"""Options that fsspec has for every filesystem; they change nothing here."""

table = _stores.stores


@lru_cache(maxsize=1 << 13)
def split(path: str) -> tuple[str, str, str]:
    """The name of the store, the path within it, and both without the protocol.

    The path within it comes back as the same object, whose hash the store's own cache knows.
    """
    stripped = path.removeprefix(PROTOCOL).strip("/")
    name, _, inner = stripped.partition("/")
    return name, "/" + inner, stripped


def name_store(error: OSError, name: str) -> None:
    """Put the name of the store in front of the paths of its error."""
    for attribute in ("filename", "filename2"):
        path = getattr(error, attribute)
        if isinstance(path, str) and not path.startswith(PROTOCOL):
            setattr(error, attribute, url(name, path))


class Naming:
    """Puts the name of a store in front of the paths of the errors within."""

    __slots__ = ("_store",)

    def __init__(self, store: str) -> None:
        self._store = store

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            name_store(error, self._store)


class Located(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """Options, names and stores."""

    protocol = "brim"
    root_marker = ""

    def __init__(
        self,
        *,
        quota: int | str | None = None,
        memory_limit: float | str | None = None,
        max_nodes: int | None = None,
        spill_dir: str | os.PathLike[str] | bool | None = None,
        disk_limit: int | str | None = None,
        **fsspec_options: Any,
    ) -> None:
        unknown = fsspec_options.keys() - FSSPEC_OPTIONS
        if unknown:
            raise TypeError(f"brim:// has no option {', '.join(sorted(unknown))}")
        super().__init__(**fsspec_options)
        self._options = _stores.normal(
            {
                "quota": quota,
                "memory_limit": memory_limit,
                "max_nodes": max_nodes,
                "spill_dir": spill_dir,
                "disk_limit": disk_limit,
            }
        )
        self._origin = _stores.process()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self._origin, self.storage_options)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return split(path if type(path) is str else stringify_path(path))[2]

    def _locate(self, path: Any, make: bool = False) -> tuple[FileSystem, str, str]:
        """The store of a path, its name, and the path within it."""
        name, inner, _ = split(path if type(path) is str else stringify_path(path))
        store = table.get(name)
        if store is None or self._options:
            store = self._find(name, inner, make)
        return store, name, inner

    def _find(self, name: str, inner: str, make: bool) -> FileSystem:
        if not name:
            raise IsADirectoryError(errno.EISDIR, "All stores together are no file", PROTOCOL)
        if make and self._origin == _stores.process():
            return _stores.find_or_make(name, self._options)
        if name in table:
            return _stores.find(name, self._options)
        # What it wrote here would be lost to whoever sent it.
        why = ", and a filesystem that comes from another process makes none" if make else ""
        raise _stores.missing(name, inner, why)

    @staticmethod
    def _naming(path: str) -> Naming:
        """Errors of the store name what `brim://` calls it."""
        return Naming(path.partition("/")[0])


def _restore(kind: type[Located], origin: str, options: dict[str, Any]) -> Located:
    """What a pickled instance becomes: in another process one that makes no stores."""
    if origin == _stores.process():
        return kind(**options)
    filesystem = kind(**options, skip_instance_cache=True)
    filesystem._origin = origin
    return filesystem
