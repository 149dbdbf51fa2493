"""The calls of `brim://` that change names: directories, removing, copying, moving."""

from __future__ import annotations

import errno
import os
import shutil
from glob import has_magic
from typing import Any

from fsspec.utils import stringify_path  # type: ignore[import-untyped]

from brimfs import FileSystem
from brimfs.fsspec import stores as _stores
from brimfs.fsspec.located import Naming, table
from brimfs.fsspec.looking import Looking
from brimfs.fsspec.staging import make_parent
from brimfs.fsspec.stores import url

_WHOLE = 1 << 20
"""What is copied from store to store in one piece."""


class Changing(Looking):
    """Changes of the tree."""

    # ---- directories

    def mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:
        self._make_directory(path, parents=create_parents, exist_ok=False)

    def makedirs(self, path: Any, exist_ok: bool = False) -> None:
        self._make_directory(path, parents=True, exist_ok=exist_ok)

    def _make_directory(self, path: Any, *, parents: bool, exist_ok: bool) -> None:
        name, _, inner = self._strip_protocol(path).partition("/")
        is_new = name != "" and name not in table
        if not inner and not is_new:
            if exist_ok:
                return
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), url(name))
        store, name, inner = self._locate(path, make=parents or inner == "")
        if inner != "/":
            with Naming(name):
                store.mkdir(inner, parents=parents, exist_ok=exist_ok)

    def rmdir(self, path: Any) -> None:
        """Remove an empty directory, or forget an empty store."""
        store, name, inner = self._locate(path)
        with Naming(name):
            if inner != "/":
                store.rmdir(inner)
                return
            if store.listdir("/"):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), inner)
        _stores.clear(name)

    # ---- removing

    def _rm(self, path: Any) -> None:
        store, name, inner = self._locate(path)
        with Naming(name):
            store.remove(inner)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files, with `recursive` directories too; a store is emptied and forgotten."""
        for each in path if isinstance(path, (list, tuple)) else [path]:
            stripped = self._strip_protocol(each)
            if maxdepth is None and not has_magic(stripped):
                self._remove(stripped, recursive)
                continue
            for found in reversed(self.expand_path(stripped, recursive, maxdepth)):
                if self.isdir(found) and not self.islink(found):
                    self.rmdir(found)
                else:
                    self.rm_file(found)

    def _remove(self, path: str, recursive: bool) -> None:
        store, name, inner = self._locate(path)
        with Naming(name):
            if not store.is_dir(inner) or store.is_symlink(inner):
                store.remove(inner)
            elif not recursive:
                raise IsADirectoryError(errno.EISDIR, "Is a directory, and not recursive", inner)
            elif inner != "/":
                store.rmtree(inner)
            else:
                _empty(store)
                _stores.clear(name)

    # ---- copying and moving

    def cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        """Copy a file, which shares its content within a store, or make the directory again."""
        source, name, source_inner = self._locate(path1)
        with Naming(name):
            if source.is_dir(source_inner):
                self.makedirs(path2, exist_ok=True)
                return
            if not source.exists(source_inner):
                source.stat(source_inner)
        target, target_name, target_inner = self._locate(path2, make=True)
        if target.is_dir(target_inner):
            full = url(target_name, target_inner)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), full)
        if source is not target:
            self._copy_across(path1, path2)
            return
        with Naming(name):
            try:
                source.copy(source_inner, target_inner)
            except FileNotFoundError:
                make_parent(target, target_inner)
                source.copy(source_inner, target_inner)

    def _copy_across(self, path1: Any, path2: Any) -> None:
        if self.size(path1) <= _WHOLE:
            self.pipe_file(path2, self.cat_file(path1))
            return
        with self.open(path1, "rb") as source:
            target = self._open(path2, "wb", autocommit=False)
            try:
                shutil.copyfileobj(source, target, _WHOLE)
                target.commit()
            except BaseException:
                target.discard()
                raise

    def mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Move; a file or directory within one store is renamed, in one step."""
        simple = isinstance(path1, (str, os.PathLike)) and isinstance(path2, (str, os.PathLike))
        if simple and maxdepth is None:
            old, new = stringify_path(path1), stringify_path(path2)
            if not has_magic(old) and not old.endswith("/") and self._rename(old, new):
                return
        super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)

    def _rename(self, old: str, new: str) -> bool:
        """Rename, into `new` if that is a directory; False where that is not to be done."""
        store, name, inner = self._locate(old)
        target_name, _, target_inner = self._strip_protocol(new).partition("/")
        if target_name != name or inner == "/":
            return False
        target_inner = "/" + target_inner
        with Naming(name):
            store.lstat(inner)
            if inner == target_inner:
                return True
            if new.endswith("/") or store.is_dir(target_inner):
                target_inner = f"{target_inner.rstrip('/')}/{inner.rpartition('/')[2]}"
            make_parent(store, target_inner)
            store.rename(inner, target_inner)
        return True


def _empty(store: FileSystem) -> None:
    for entry in list(store.scandir("/")):
        if entry.is_dir(follow_symlinks=False):
            store.rmtree(entry.path)
        else:
            store.remove(entry.path)
