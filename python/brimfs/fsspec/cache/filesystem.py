"""The filesystem that fsspec knows as `brimcache`: reads go through the cache, writes past it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from glob import has_magic
from typing import Any, Literal, TypeVar

from fsspec import filesystem  # type: ignore[import-untyped]
from fsspec.callbacks import DEFAULT_CALLBACK  # type: ignore[import-untyped]

from brimfs import File, FileSystem
from brimfs.fsspec.cache.asking import PROTOCOL, Asking, is_one
from brimfs.fsspec.cache.files import Cache
from brimfs.fsspec.cache.handles import CachedFile, ThroughTransaction, WrittenFile
from brimfs.fsspec.cache.holding import CacheStats
from brimfs.fsspec.cache.index import Key
from brimfs.fsspec.cache.remote import Source, identity
from brimfs.fsspec.cache.settings import close, find_or_make, settings
from brimfs.fsspec.filesystem import read_part
from brimfs.fsspec.located import FSSPEC_OPTIONS

T = TypeVar("T")

_READER_OPTIONS = frozenset(("cache_type", "size", "fill_cache", "autocommit"))
"""Options of a remote's open file that change nothing of what is read from it."""
_AT_ONCE = 8
"""How many files are fetched at the same time by one call."""


class BrimCacheFileSystem(Asking):
    """Files of another filesystem, `fs` or the one of `target_protocol` and `target_options`.

    `memory_limit` and `disk_limit` bound what the cache takes, `limit` the files in it. It belongs
    to the process, and is shared by all that ask for the same; with `store` it is kept in that
    directory, which one process at a time can use. `validate` says how often the remote is asked
    whether a file changed: `"always"`, `"never"`, or after so many seconds.
    """

    transaction_type = ThroughTransaction
    _strip_tokenize_options = ("fo",)

    def __init__(
        self,
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        fs: Any = None,
        fo: Any = None,
        *,
        store: str | os.PathLike[str] | None = None,
        memory_limit: int | str | None = None,
        disk_limit: int | str | None = None,
        limit: int | str | None = None,
        spill_dir: str | os.PathLike[str] | Literal[False] | None = None,
        validate: float | Literal["always", "never"] = "always",
        **fsspec_options: Any,
    ) -> None:
        if unknown := fsspec_options.keys() - FSSPEC_OPTIONS:
            raise TypeError(f"{PROTOCOL}:: has no option {', '.join(sorted(unknown))}")
        if (fs is None) == (target_protocol is None):
            raise ValueError(f"{PROTOCOL}:: takes either a filesystem or a target_protocol")
        super().__init__(**fsspec_options)
        self.fs = filesystem(target_protocol, **target_options or {}) if fs is None else fs
        if getattr(self.fs, "asynchronous", False):
            raise ValueError(f"{PROTOCOL}:: takes no filesystem with asynchronous=True")
        self.sep, self.root_marker = self.fs.sep, self.fs.root_marker
        self.target_protocol = target_protocol or self.fs.protocol
        self._identity = identity(self.fs)
        self._max_age = _max_age(validate)
        self._settings = settings(
            store=store,
            memory_limit=memory_limit,
            disk_limit=disk_limit,
            limit=limit,
            spill_dir=spill_dir,
        )
        # Each instance has its own target, so this is no class method here.
        self._strip_protocol = self._strip

    def _strip(self, path: Any) -> Any:
        return self.fs._strip_protocol(self._remote_name(path))

    @property
    def _files(self) -> Cache:
        return find_or_make(self._settings)

    # ---- reading

    def _read(self, path: str, use: Callable[[FileSystem, str], T]) -> T | None:
        key = (self._identity, path)
        return self._files.read(key, Source(self.fs, path), self._max_age, use)

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """As the built-in `open`. What is read is complete, and stays the same until it is closed.

        With options that the remote alone understands, such as the version of an object, a file is
        read past the cache.
        """
        if mode == "rb" and compression is None and not kwargs:
            return self._open(self._strip(path), mode, block_size, True, cache_options)
        return super().open(path, mode, block_size, cache_options, compression, **kwargs)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        if mode != "rb":
            return self._open_to_write(
                path,
                mode=mode,
                block_size=block_size,
                autocommit=autocommit,
                cache_options=cache_options,
                **kwargs,
            )
        file = None if kwargs.keys() - _READER_OPTIONS else self._read(path, _opened)
        if file is not None:
            return CachedFile(file, self, path, self._damaged)
        return self.fs.open(path, mode, block_size=block_size, **kwargs)

    def _damaged(self, path: str) -> None:
        self._files.drop_damaged((self._identity, path))

    def cat_file(
        self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """The content, or a part of it as a slice has it. The file is fetched as a whole."""
        path = self._strip(path)
        content: bytes | None = None
        if not kwargs.keys() - _READER_OPTIONS:
            if start is None and end is None:
                content = self._read(path, FileSystem.read_bytes)
            else:
                content = self._read(path, lambda store, name: read_part(store, name, start, end))
        if content is None:
            content = self.fs.cat_file(path, start=start, end=end, **kwargs)
        return content

    def cat(
        self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any
    ) -> Any:
        """The content of one file, or of many by their names; from some remotes many at once."""
        depth = kwargs.pop("maxdepth", None)
        paths = self.expand_path(path, recursive=recursive, maxdepth=depth)
        if is_one(path) and paths == [self._strip(path)]:
            return self.cat_file(paths[0], **kwargs)
        found: dict[str, Any] = {}
        for each, content in zip(paths, self._each(paths, self.cat_file, **kwargs), strict=True):
            if recursive and isinstance(content, IsADirectoryError):
                continue
            if not isinstance(content, BaseException) or on_error == "return":
                found[each] = content
            elif on_error == "raise":
                raise content
        return found

    def cat_ranges(
        self,
        paths: list[Any],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Parts of files; those of one file are parts of the same version of it."""
        if max_gap is not None:
            raise NotImplementedError("max_gap: a cached file has no gaps that are dear to read")
        if not isinstance(paths, list):
            raise TypeError("paths is a list")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        ranges: dict[str, list[tuple[int, Any, Any]]] = {}
        for place, (path, start, end) in enumerate(zip(paths, starts, ends, strict=True)):
            ranges.setdefault(self._strip(path), []).append((place, start, end))
        found: list[Any] = [None] * len(paths)

        def cut(path: str) -> None:
            parts = self._parts(path, [part[1:] for part in ranges[path]], **kwargs)
            for (place, _, _), part in zip(ranges[path], parts, strict=True):
                found[place] = part

        for path, error in zip(ranges, self._each(list(ranges), cut), strict=True):
            if error is not None:
                if on_error != "return":
                    raise error
                for place, _, _ in ranges[path]:
                    found[place] = error
        return found

    def _parts(self, path: str, ranges: list[tuple[Any, Any]], **kwargs: Any) -> list[bytes]:
        if not kwargs.keys() - _READER_OPTIONS:
            parts = self._read(
                path, lambda store, name: [read_part(store, name, *each) for each in ranges]
            )
            if parts is not None:
                return parts
        return [self.fs.cat_file(path, start=start, end=end, **kwargs) for start, end in ranges]

    def _each(self, paths: list[str], call: Callable[..., T], **kwargs: Any) -> list[Any]:
        """What the call makes of each path, or its error; at once where the remote allows it."""

        def attempt(path: str) -> Any:
            try:
                return call(path, **kwargs)
            except Exception as error:
                return error

        # Only those with an event loop of their own can be called from other threads.
        if len(paths) == 1 or not self.fs.async_impl:
            return [attempt(path) for path in paths]
        with ThreadPoolExecutor(min(_AT_ONCE, len(paths))) as pool:
            return list(pool.map(attempt, paths))

    # ---- writing

    @contextmanager
    def _changing(self, *paths: Any, below: bool = False) -> Iterator[None]:
        """Forget the files, and again when the call is over, whatever became of it.

        A cache that cannot be used is an error before anything is written, because it would keep
        what is no longer so; and so would one whose process ends between the write and the end of
        the call. With `below` the paths can be directories or patterns.
        """
        for path in paths:
            self._forget(path, below)
        try:
            yield
        finally:
            for path in paths:
                self._forget(path, below)

    def _forget(self, path: Any, below: bool = False) -> None:
        cache, stripped = self._files, self._strip(path)
        cache.drop((self._identity, stripped))
        if not below:
            return
        if has_magic(stripped):
            beginning = stripped[: min(map(stripped.find, filter(stripped.__contains__, "*?[")))]
        else:
            beginning = stripped.rstrip("/") + "/" if stripped.strip("/") else ""

        def wanted(key: Key) -> bool:
            return key[0] == self._identity and key[1].startswith(beginning)

        cache.drop_all(wanted)

    def _open_to_write(self, path: str, **kwargs: Any) -> WrittenFile:
        with self._changing(path):
            file = self.fs._open(path, **kwargs)
        return WrittenFile(file, partial(self._forget, path))

    def start_transaction(self) -> Any:
        self.fs.start_transaction()
        return super().start_transaction()

    def pipe_file(self, path: Any, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        if self._intrans:
            super().pipe_file(path, value, mode=mode, **kwargs)
            return
        with self._changing(path):
            self.fs.pipe_file(self._remote_name(path), value, mode=mode, **kwargs)

    def pipe(self, path: Any, value: Any = None, **kwargs: Any) -> None:
        if self._intrans:
            super().pipe(path, value, **kwargs)
            return
        given = path if isinstance(path, dict) else {path: value}
        with self._changing(*given):
            self.fs.pipe({self._strip(each): given[each] for each in given}, **kwargs)

    def put_file(
        self, lpath: Any, rpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> None:
        if self._intrans:
            super().put_file(lpath, rpath, callback=callback, **kwargs)
            return
        with self._changing(rpath):
            self.fs.put_file(lpath, self._remote_name(rpath), callback=callback, **kwargs)

    def put(self, lpath: Any, rpath: Any, *args: Any, **kwargs: Any) -> None:
        if self._intrans:
            super().put(lpath, rpath, *args, **kwargs)
            return
        with self._changing(*_listed(rpath), below=True):
            self.fs.put(lpath, self._remote_name(rpath), *args, **kwargs)

    def cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        with self._changing(path2):
            self.fs.cp_file(self._remote_name(path1), self._remote_name(path2), **kwargs)

    def copy(self, path1: Any, path2: Any, *args: Any, **kwargs: Any) -> None:
        with self._changing(*_listed(path2), below=True):
            self.fs.copy(self._remote_name(path1), self._remote_name(path2), *args, **kwargs)

    def mv(self, path1: Any, path2: Any, *args: Any, **kwargs: Any) -> None:
        with self._changing(*_listed(path1), *_listed(path2), below=True):
            self.fs.mv(self._remote_name(path1), self._remote_name(path2), *args, **kwargs)

    def rm_file(self, path: Any) -> None:
        with self._changing(path):
            self.fs.rm_file(self._remote_name(path))

    def _rm(self, path: Any) -> None:
        self.rm_file(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        with self._changing(*_listed(path), below=True):
            self.fs.rm(self._remote_name(path), recursive=recursive, maxdepth=maxdepth)

    def touch(self, path: Any, truncate: bool = True, **kwargs: Any) -> None:
        with self._changing(path):
            self.fs.touch(self._remote_name(path), truncate=truncate, **kwargs)

    def mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:
        self.fs.mkdir(self._remote_name(path), create_parents=create_parents, **kwargs)

    def makedirs(self, path: Any, exist_ok: bool = False) -> None:
        self.fs.makedirs(self._remote_name(path), exist_ok=exist_ok)

    def rmdir(self, path: Any) -> None:
        self.fs.rmdir(self._remote_name(path))

    # ---- the cache itself

    def cache_stats(self) -> CacheStats:
        """What the cache did and holds, for all who share it."""
        return self._files.stats()

    def clear_cache(self) -> None:
        """Forget all files, those of other remotes too."""
        self._files.drop_all(lambda _: True)

    def pop_from_cache(self, path: Any) -> None:
        """Forget a file: the next read fetches it, whatever `validate` says."""
        self._files.drop((self._identity, self._strip(path)))

    def close_cache(self) -> None:
        """Close the cache, so that another process can have its store; the next use opens it."""
        close(self._settings)


def _opened(store: FileSystem, name: str) -> File:
    file: File = store.open(name, "rb", lock="none")
    return file


def _listed(path: Any) -> Iterable[Any]:
    return [path] if is_one(path) else path


def _max_age(validate: Any) -> float:
    """The age in seconds up to which nobody is asked."""
    if validate == "always":
        return -1.0
    if validate == "never":
        return math.inf
    if isinstance(validate, (int, float)) and not isinstance(validate, bool) and validate >= 0:
        return float(validate)
    raise ValueError(f"validate is 'always', 'never' or a number of seconds, not {validate!r}")
