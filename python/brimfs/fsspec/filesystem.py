"""The filesystem that fsspec knows as `brim`: paths are `NAME/path`, as buckets and keys are.

Every path goes to the store that its first part names, so one instance serves all of them.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from glob import has_magic
from operator import itemgetter
from typing import Any

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path, tokenize

from brimfs import File, FileSystem
from brimfs.fsspec import listing
from brimfs.fsspec import stores as _stores
from brimfs.fsspec.file import BrimFile
from brimfs.fsspec.listing import Info
from brimfs.fsspec.staging import DIRECTORY, Staged, make_parent
from brimfs.fsspec.stores import url

_PROTOCOL = "brim://"
_OPEN_OPTIONS = ("lock", "lock_timeout", "priority")
_FSSPEC_OPTIONS = frozenset(
    (
        "asynchronous",
        "loop",
        "use_listings_cache",
        "listings_expiry_time",
        "max_paths",
        "batch_size",
    )
)
_WHOLE = 1 << 20
"""What is copied from store to store in one piece."""

_table = _stores.stores


class _Naming:
    """Puts the name of a store in front of the paths of the errors within."""

    __slots__ = ("_store",)

    def __init__(self, store: str) -> None:
        self._store = store

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            _name(error, self._store)


class BrimFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """All `brim://` stores of the process.

    The options are those of `brimfs.FileSystem` for the stores that it makes: the first write below
    a name makes its store. A store that was made with others is refused (`ValueError`); without
    options every store will do. Directories above a file that is written are made.
    """

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
        unknown = fsspec_options.keys() - _FSSPEC_OPTIONS
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

    # ---- paths and stores

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return _split(path if type(path) is str else stringify_path(path))[2]

    def _locate(self, path: Any, make: bool = False) -> tuple[FileSystem, str, str]:
        """The store of a path, its name, and the path within it."""
        name, inner, _ = _split(path if type(path) is str else stringify_path(path))
        store = _table.get(name)
        if store is None or self._options:
            store = self._find(name, inner, make)
        return store, name, inner

    def _find(self, name: str, inner: str, make: bool) -> FileSystem:
        if not name:
            raise IsADirectoryError(errno.EISDIR, "All stores together are no file", _PROTOCOL)
        if make and self._origin == _stores.process():
            return _stores.find_or_make(name, self._options)
        if name in _table:
            return _stores.find(name, self._options)
        # What it wrote here would be lost to whoever sent it.
        why = ", and a filesystem that comes from another process makes none" if make else ""
        raise _stores.missing(name, inner, why)

    @staticmethod
    def _naming(path: str) -> _Naming:
        """Errors of the store name what `brim://` calls it."""
        return _Naming(path.partition("/")[0])

    # ---- whole files

    def cat_file(
        self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """The content, or a part of it as a slice has it; written whole it is not copied."""
        # As `_locate`, in line: this is the call that small reads are made of.
        name, inner, _ = _split(path if type(path) is str else stringify_path(path))
        store = _table.get(name)
        if store is None or self._options:
            store = self._find(name, inner, make=False)
        try:
            if start is None and end is None:
                return store.read_bytes(inner)
            return _read_part(store, inner, start, end)
        except OSError as error:
            _name(error, name)
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
            _name(error, name)
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
        with _Naming(name):
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
        if compression is not None or kwargs or "b" not in mode or self._intrans:
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        name, inner, stripped = _split(path if type(path) is str else stringify_path(path))
        store = _table.get(name)
        if store is None or self._options:
            store = self._find(name, inner, make="r" not in mode)
        try:
            if mode == "rb":
                return BrimFile(store.open(inner, "rb", lock="none"), self, stripped)
            return BrimFile.in_mode(_open(store, inner, mode), self, stripped, mode)
        except OSError as error:
            _name(error, name)
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
        with _Naming(name):
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

    # ---- looking

    def info(self, path: Any, **kwargs: Any) -> Info:
        name, inner, path = _split(path if type(path) is str else stringify_path(path))
        if not path:
            return listing.root_info("")
        store = _table.get(name)
        if store is None or self._options:
            store = self._find(name, inner, make=False)
        try:
            found = store.lstat(inner)
            if not stat.S_ISLNK(found.st_mode):
                return listing.info_of(path, found)
            return listing.link_info(store, path, inner, found)
        except OSError as error:
            _name(error, name)
            raise

    def ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        if not path:
            return [listing.root_info(name) if detail else name for name in sorted(_table)]
        store, name, inner = self._locate(path)
        with _Naming(name):
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
        name, inner, _ = _split(path if type(path) is str else stringify_path(path))
        store = _table.get(name)
        if store is None:
            return not name
        if self._options:
            store = self._find(name, inner, make=False)
        try:
            return question(store, inner)
        except OSError as error:
            _name(error, name)
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
        with _Naming(name):
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
            named = ", ".join(_PROTOCOL + self._strip_protocol(each) for each in paths)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), named) from None
        return found

    # ---- directories

    def mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:
        self._make_directory(path, parents=create_parents, exist_ok=False)

    def makedirs(self, path: Any, exist_ok: bool = False) -> None:
        self._make_directory(path, parents=True, exist_ok=exist_ok)

    def _make_directory(self, path: Any, *, parents: bool, exist_ok: bool) -> None:
        name, _, inner = self._strip_protocol(path).partition("/")
        is_new = name != "" and name not in _table
        if not inner and not is_new:
            if exist_ok:
                return
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), url(name))
        store, name, inner = self._locate(path, make=parents or inner == "")
        if inner != "/":
            with _Naming(name):
                store.mkdir(inner, parents=parents, exist_ok=exist_ok)

    def rmdir(self, path: Any) -> None:
        """Remove an empty directory, or forget an empty store."""
        store, name, inner = self._locate(path)
        with _Naming(name):
            if inner != "/":
                store.rmdir(inner)
                return
            if store.listdir("/"):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), inner)
        _stores.clear(name)

    # ---- removing

    def _rm(self, path: Any) -> None:
        store, name, inner = self._locate(path)
        with _Naming(name):
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
        with _Naming(name):
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
        with _Naming(name):
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
        with _Naming(name):
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
        with _Naming(name):
            store.lstat(inner)
            if inner == target_inner:
                return True
            if new.endswith("/") or store.is_dir(target_inner):
                target_inner = f"{target_inner.rstrip('/')}/{inner.rpartition('/')[2]}"
            make_parent(store, target_inner)
            store.rename(inner, target_inner)
        return True


@lru_cache(maxsize=1 << 13)
def _split(path: str) -> tuple[str, str, str]:
    """The name of the store, the path within it, and both without the protocol.

    The path within it comes back as the same object, whose hash the store's own cache knows.
    """
    stripped = path.removeprefix(_PROTOCOL).strip("/")
    name, _, inner = stripped.partition("/")
    return name, "/" + inner, stripped


def _restore(kind: type[BrimFileSystem], origin: str, options: dict[str, Any]) -> BrimFileSystem:
    """What a pickled instance becomes: in another process one that makes no stores."""
    if origin == _stores.process():
        return kind(**options)
    filesystem = kind(**options, skip_instance_cache=True)
    filesystem._origin = origin
    return filesystem


def _name(error: OSError, name: str) -> None:
    """Put the name of the store in front of the paths of its error."""
    for attribute in ("filename", "filename2"):
        path = getattr(error, attribute)
        if isinstance(path, str) and not path.startswith(_PROTOCOL):
            setattr(error, attribute, url(name, path))


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


def _read_part(store: FileSystem, inner: str, start: int | None, end: int | None) -> bytes:
    file = store.open(inner, "rb", lock="none")
    try:
        if (start or 0) < 0 or (end or 0) < 0:
            start, end, _ = slice(start, end).indices(file.seek(0, os.SEEK_END))
        start = start or 0
        file.seek(start)
        return file.read() if end is None else file.read(max(end - start, 0))
    finally:
        file.close()


def _empty(store: FileSystem) -> None:
    for entry in list(store.scandir("/")):
        if entry.is_dir(follow_symlinks=False):
            store.rmtree(entry.path)
        else:
            store.remove(entry.path)
