"""The calls of `brim://` that look at names and change nothing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from fsspec.utils import stringify_path, tokenize  # type: ignore[import-untyped]

from brimfs import FileSystem
from brimfs.fsspec import listing
from brimfs.fsspec.listing import Info
from brimfs.fsspec.located import PROTOCOL, Located, Naming, name_store, split, table
from brimfs.fsspec.staging import DIRECTORY


class Looking(Located):
    """Listings, details, times and checksums."""

    def info(self, path: Any, **kwargs: Any) -> Info:
        name, inner, path = split(path if type(path) is str else stringify_path(path))
        if not path:
            return listing.root_info("")
        store = table.get(name)
        if store is None or self._options:
            store = self._find(name, inner, make=False)
        try:
            found = store.lstat(inner)
            if not stat.S_ISLNK(found.st_mode):
                return listing.info_of(path, found)
            return listing.link_info(store, path, inner, found)
        except OSError as error:
            name_store(error, name)
            raise

    def ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        if not path:
            return [listing.root_info(name) if detail else name for name in sorted(table)]
        store, name, inner = self._locate(path)
        with Naming(name):
            if not store.is_dir(inner):
                return [self.info(path)] if detail else [self.info(path)["name"]]
            if not detail:
                names = (each for each in store.listdir(inner) if each != DIRECTORY or inner != "/")
                return [f"{path}/{each}" for each in sorted(names)]
            return sorted(listing.entries(store, path, inner), key=itemgetter("name"))

    def walk(
        self,
        path: Any,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: str | Callable[[OSError], object] = "omit",
        **kwargs: Any,
    ) -> Iterator[tuple[str, Any, Any]]:
        """As `os.walk`, at any depth; links to directories are not followed."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        detail = kwargs.pop("detail", False)
        pending: list[tuple[str, int, Any]] = [(self._strip_protocol(path), 1, None)]
        while pending:
            path, depth, level = pending.pop()
            if level is not None:
                yield level
                continue
            try:
                found = self.ls(path, detail=True, **kwargs)
            except OSError as error:
                if on_error == "raise":
                    raise
                if callable(on_error):
                    on_error(error)
                continue
            dirs, files, links = listing.sort_out(path, found)
            level = (path, dirs, files) if detail else (path, list(dirs), list(files))
            if topdown:
                yield level
            else:
                pending.append((path, depth, level))
            if maxdepth is None or depth < maxdepth:
                # `level[1]` may have been edited by the caller meanwhile.
                below = [f"{path}/{name}".lstrip("/") for name in level[1] if name not in links]
                pending.extend((each, depth + 1, None) for each in reversed(below))

    def exists(self, path: Any, **kwargs: Any) -> bool:
        return self._ask(path, FileSystem.exists)

    def isdir(self, path: Any) -> bool:
        return self._ask(path, FileSystem.is_dir)

    def isfile(self, path: Any) -> bool:
        return self._strip_protocol(path) != "" and self._ask(path, FileSystem.is_file)

    def islink(self, path: Any) -> bool:
        return self._strip_protocol(path) != "" and self._ask(path, FileSystem.is_symlink)

    def lexists(self, path: Any, **kwargs: Any) -> bool:
        return self.exists(path) or self.islink(path)

    def _ask(self, path: Any, question: Callable[[FileSystem, str], bool]) -> bool:
        name, inner, _ = split(path if type(path) is str else stringify_path(path))
        store = table.get(name)
        if store is None:
            return not name
        if self._options:
            store = self._find(name, inner, make=False)
        try:
            return question(store, inner)
        except OSError as error:
            name_store(error, name)
            raise

    def created(self, path: Any) -> datetime:
        """When the node last changed, its traits included: the time of creation is not kept."""
        return datetime.fromtimestamp(self.info(path)["created"], tz=UTC)

    def modified(self, path: Any) -> datetime:
        """When the content last changed."""
        return datetime.fromtimestamp(self.info(path)["mtime"], tz=UTC)

    def checksum(self, path: Any) -> int:
        """Equal as long as it is the same file with the same content; O(1)."""
        return int(self.ukey(path), 16)

    def ukey(self, path: Any) -> str:
        """The checksum as text; no two versions of a file have the same."""
        store, name, inner = self._locate(path)
        with Naming(name):
            found = store.stat(inner)
        # Times of changes grow strictly, and inode numbers are not used again.
        key: str = tokenize(name, found.st_ino, found.st_ctime_ns, found.st_size)
        return key

    def expand_path(self, path: Any, *args: Any, **kwargs: Any) -> list[str]:
        try:
            found: list[str] = super().expand_path(path, *args, **kwargs)
        except FileNotFoundError as error:
            if error.filename is not None:
                raise
            paths = [path] if isinstance(path, (str, os.PathLike)) else path
            named = ", ".join(PROTOCOL + self._strip_protocol(each) for each in paths)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), named) from None
        return found
