"""The filesystem that fsspec knows as `brim`: paths are `NAME/path`, as buckets and keys are."""

from __future__ import annotations

import errno
import os
from typing import Any

from fsspec.utils import stringify_path  # type: ignore[import-untyped]

from brimfs import File, FileSystem
from brimfs.fsspec.changing import Changing
from brimfs.fsspec.file import BrimFile
from brimfs.fsspec.located import Naming, name_store, split, table
from brimfs.fsspec.staging import Staged, make_parent

_OPEN_OPTIONS = ("lock", "lock_timeout", "priority")


class BrimFileSystem(Changing):
    """All `brim://` stores of the process.

    The options are those of `brimfs.FileSystem` for the stores that it makes: the first write below
    a name makes its store. A store that was made with others is refused (`ValueError`); without
    options every store will do. Directories above a file that is written are made.
    """

    # ---- whole files

    def cat_file(
        self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """The content, or a part of it as a slice has it; written whole it is not copied."""
        # As `_locate`, in line: this is the call that small reads are made of.
        name, inner, _ = split(path if type(path) is str else stringify_path(path))
        store = table.get(name)
        if store is None or self._options:
            store = self._find(name, inner, make=False)
        try:
            if start is None and end is None:
                return store.read_bytes(inner)
            return read_part(store, inner, start, end)
        except OSError as error:
            name_store(error, name)
            raise

    def pipe_file(self, path: Any, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write the whole file at once; `mode="create"` refuses one that exists."""
        if mode not in ("overwrite", "create"):
            raise ValueError(f"mode is 'overwrite' or 'create', not {mode!r}")
        if self._intrans or kwargs:
            with self.open(path, "xb" if mode == "create" else "wb", **kwargs) as file:
                file.write(value)
            return
        store, name, inner = self._locate(path, make=True)
        try:
            if mode == "create":
                self._create(store, inner, value)
                return
            try:
                store.write_bytes(inner, value)
            except FileNotFoundError:
                make_parent(store, inner)
                store.write_bytes(inner, value)
        except OSError as error:
            name_store(error, name)
            raise

    @staticmethod
    def _create(store: FileSystem, inner: str, value: Any) -> None:
        _refuse_existing(store, inner)
        staged = Staged(store, inner, exclusive=True)
        try:
            with staged.naming():
                store.write_bytes(staged.path, value)
            staged.commit()
        except BaseException:
            staged.discard()
            raise

    def touch(self, path: Any, truncate: bool = True, **kwargs: Any) -> None:
        """Make the file empty, or with `truncate=False` change its times only."""
        if truncate:
            self.pipe_file(path, b"", **kwargs)
            return
        store, name, inner = self._locate(path, make=True)
        with Naming(name):
            make_parent(store, inner)
            store.touch(inner)

    # ---- handles

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """As the built-in `open`; `lock`, `lock_timeout` and `priority` as `brimfs` has them.

        Without `lock` a file takes no file lock: others can read and replace it meanwhile.
        """
        if kwargs or compression is not None or self._intrans or "b" not in mode:
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        name, inner, stripped = split(path if type(path) is str else stringify_path(path))
        store = table.get(name)
        if store is None or self._options:
            store = self._find(name, inner, make="r" not in mode)
        try:
            if mode == "rb":
                return BrimFile(store.open(inner, "rb", lock="none"), self, stripped)
            return BrimFile.in_mode(_open(store, inner, mode), self, stripped, mode)
        except OSError as error:
            name_store(error, name)
            raise

    def _open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> BrimFile:
        creates = "r" not in mode
        options = {key: kwargs[key] for key in _OPEN_OPTIONS if key in kwargs}
        store, name, inner = self._locate(path, make=creates)
        with Naming(name):
            if creates and not autocommit:
                return self._open_aside(store, name, inner, mode, options)
            file = _open(store, inner, mode, **options)
        return BrimFile.in_mode(file, self, name + inner, mode)

    def _open_aside(
        self, store: FileSystem, name: str, inner: str, mode: str, options: dict[str, Any]
    ) -> BrimFile:
        exclusive = "x" in mode
        if store.is_dir(inner):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), inner)
        if exclusive:
            _refuse_existing(store, inner)
        staged = Staged(store, inner, exclusive=exclusive, append="a" in mode)
        try:
            file = _open(store, staged.path, mode.replace("x", "w"), **options)
        except BaseException:
            staged.discard()
            raise
        return BrimFile.in_mode(file, self, name + inner, mode, staged)


def _open(store: FileSystem, inner: str, mode: str, **options: Any) -> File:
    """A binary handle; what is missing above a new file is made."""
    options.setdefault("lock", "none")
    try:
        file = store.open(inner, mode, **options)
    except FileNotFoundError:
        if "r" in mode:
            raise
        make_parent(store, inner)
        file = store.open(inner, mode, **options)
    if not isinstance(file, File):
        raise ValueError(f"not a binary mode: {mode!r}")
    return file


def _refuse_existing(store: FileSystem, inner: str) -> None:
    if store.exists(inner):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), inner)


def read_part(store: FileSystem, inner: str, start: int | None, end: int | None) -> bytes:
    """A part of a file, as a slice has it."""
    # With the file lock for the call, as reading the whole file has it.
    file = store.open(inner, "rb")
    try:
        begin = start or 0
        if begin < 0 or (end or 0) < 0:
            begin, end, _ = slice(start, end).indices(file.seek(0, os.SEEK_END))
        file.seek(begin)
        return file.read() if end is None else file.read(max(end - begin, 0))
    finally:
        file.close()
