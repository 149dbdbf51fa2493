"""`brimfs.FileSystem` for event loops."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from types import EllipsisType
from typing import Any, Literal, NoReturn, ParamSpec, Self, TypeAlias, overload

from brimfs import _brimfs
from brimfs._brimfs import Budget, Diff, ExternalChanges, LogEntry, Stats, Usage, _at_once
from brimfs._brimfs import FileSystem as Core
from brimfs.aio._calls import DONE, Caller, changing, lasting, looking, reading, writing
from brimfs.aio._file import File
from brimfs.aio._listing import Preload, ScanIterator, walk
from brimfs.aio._opening import Opening
from brimfs.aio._text import TextFile
from brimfs.aio._threads import in_thread, patiently
from brimfs.aio._transaction import Transaction
from brimfs.aio._transfer import transferring
from brimfs.aio._watch import Watch

_P = ParamSpec("_P")
_Str: TypeAlias = str | os.PathLike[str]
_Bytes: TypeAlias = bytes | os.PathLike[bytes]
_Path: TypeAlias = _Str | _Bytes
_Size: TypeAlias = int | str


class FileSystem(Caller):
    """A filesystem in memory, for the tasks of event loops; arguments as for `brimfs.FileSystem`.

    With a `store` making it reads the disk: `open_filesystem` does that without blocking the loop.
    `over` gives a `brimfs.FileSystem` this face; both can be used side by side, from any thread and
    any loop.

    What needs neither a wait nor a disk is done at once. Methods without a note are those of
    `brimfs.FileSystem`, as coroutines.
    """

    def __init__(
        self,
        store: _Str | None = None,
        *,
        quota: _Size | None = None,
        memory_limit: _Size | float = 0.8,
        max_nodes: int | None = None,
        spill_dir: _Str | Literal[False] | None = None,
        disk_limit: _Size | None = None,
        lock_timeout: float | None = 30.0,
        durability: float | Literal["sync", "manual"] = 1.0,
        layout: Literal["segments", "mirror"] = "segments",
        read_only: bool = False,
        on_external_change: Literal["reload", "keep", "raise"] = "reload",
        policy: Literal["g2", "lru", "sieve", "s3fifo"] = "g2",
        priority_boost_threshold: int | None = 10,
        compression: Literal["lz4"] | None = None,
        memory_guard: Literal["off", "warn", "refuse"] = "warn",
        operation_log: int | _Str | None = None,
        umask: int = 0o022,
        budget: Budget | None = None,
    ) -> None:
        # What was not given is left out: some options are errors beside others, even as defaults.
        given = locals()
        defaults = FileSystem.__init__.__kwdefaults__ or {}
        options = {name: given[name] for name in defaults if given[name] is not defaults[name]}
        super().__init__(Core(store, **options))

    @classmethod
    def over(cls, filesystem: Core) -> Self:
        """A `brimfs.FileSystem` with this face. Closing either closes both."""
        made = cls.__new__(cls)
        Caller.__init__(made, filesystem)
        return made

    @property
    def sync_filesystem(self) -> Core:
        """The `brimfs.FileSystem` below, for libraries that know nothing of event loops."""
        return self._fs

    @property
    def closed(self) -> bool:
        """Whether the filesystem is closed."""
        return self._fs.closed

    @property
    def is_snapshot(self) -> bool:
        """Whether this was made by snapshot()."""
        return self._fs.is_snapshot

    async def __aenter__(self) -> Self:
        self._fs.__enter__()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def __copy__(self) -> NoReturn:
        self._fs.__copy__()

    def __deepcopy__(self, _memo: object, /) -> NoReturn:
        self._fs.__deepcopy__(_memo)

    def __repr__(self) -> str:
        return repr(self._fs).replace("brimfs.", "brimfs.aio.", 1)

    async def stats(self) -> Stats:
        """The counters, as a Stats object. O(1)."""
        return self._fs.stats()

    async def operation_log(self) -> list[LogEntry]:
        """The last operations, the oldest first; see `brimfs.FileSystem.operation_log`."""
        return self._fs.operation_log()

    # ------------------------------------------------------------ open

    @overload
    def open(
        self,
        path: _Path,
        mode: _brimfs._TextMode = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        lock_timeout: float | None = ...,
        lock: Literal["auto", "none"] = "auto",
        priority: int | None = None,
    ) -> Opening[TextFile]: ...
    @overload
    def open(
        self,
        path: _Path,
        mode: _brimfs._BinaryMode,
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        *,
        lock_timeout: float | None = ...,
        lock: Literal["auto", "none"] = "auto",
        priority: int | None = None,
    ) -> Opening[File]: ...
    @overload
    def open(
        self,
        path: _Path,
        mode: str,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        lock_timeout: float | None = ...,
        lock: Literal["auto", "none"] = "auto",
        priority: int | None = None,
    ) -> Opening[TextFile | File]: ...
    def open(
        self,
        path: _Path,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        lock_timeout: float | EllipsisType | None = ...,
        lock: Literal["auto", "none"] = "auto",
        priority: int | None = None,
    ) -> Any:
        """Open a file, as `brimfs.FileSystem.open`: `await fs.open(…)`, or `async with`.

        Binary modes give a `File`, text modes a `TextFile`. Whoever waits for the file lock waits
        as a task, in the order of asking. Cancelled, it leaves nothing behind: no lock, no handle.
        """

        # What is not given is left out: the core has a short way for that.
        keywords: dict[str, Any] = {}
        if lock_timeout is not ...:
            keywords["lock_timeout"] = lock_timeout
        if lock != "auto":
            keywords["lock"] = lock
        if priority is not None:
            keywords["priority"] = priority

        how = buffering, encoding, errors, newline
        if isinstance(mode, str) and "b" not in mode:
            return Opening(functools.partial(self._open_text, path, mode, how, keywords))
        args = (path, mode) if how == (-1, None, None, None) else (path, mode, *how)
        return Opening(functools.partial(self._open, args, keywords))

    async def _open_text(
        self, path: _Path, mode: str, how: tuple[Any, ...], keywords: dict[str, Any]
    ) -> TextFile:
        pattern = _pattern(*how)
        binary = mode.replace("t", "") + "b"
        return TextFile(await self._open((path, binary), keywords), mode, pattern, how[3])

    async def _open(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> File:
        path, mode = args[:2]
        reads = isinstance(mode, str) and "r" in mode and "+" not in mode
        is_prompt = self._looks_at_once if reads else self._changes_at_once
        core: Callable[..., Any] = self._fs.open
        if is_prompt:
            how, file = _at_once(core, args, keywords or None)
            if how == DONE:
                return File(file, self)  # type: ignore[arg-type]
        return File(await self._wait(is_prompt, ((path, not reads),), core, args, keywords), self)

    # ------------------------------------------------------------ files as a whole

    read_bytes = reading(Core.read_bytes)
    read_text = reading(Core.read_text)
    view = reading(Core.view)
    write_bytes = writing(Core.write_bytes)
    write_text = writing(Core.write_text)
    append_bytes = writing(Core.append_bytes)
    truncate = writing(Core.truncate)

    @overload
    async def copy(self, src: _Path, dst: _Str) -> str: ...
    @overload
    async def copy(self, src: _Path, dst: _Bytes) -> bytes: ...
    async def copy(self, src: _Path, dst: Any) -> Any:
        """Copy the file src to dst, or into dst if that is a directory. Return the new path."""
        target = os.fspath(dst)
        if await self.is_dir(target):
            name = os.path.basename(os.fsdecode(os.fspath(src)).rstrip("/"))
            target = os.path.join(target, os.fsencode(name) if isinstance(target, bytes) else name)
        locks = (src, False), (target, True)
        return await self._call(self._changes_at_once, locks, self._fs.copy, (src, dst), {})

    # ------------------------------------------------------------ looking at names

    exists = looking(Core.exists)
    is_file = looking(Core.is_file)
    is_dir = looking(Core.is_dir)
    is_symlink = looking(Core.is_symlink)
    stat = looking(Core.stat)
    lstat = looking(Core.lstat)
    getxattr = looking(Core.getxattr)
    listxattr = looking(Core.listxattr)
    get_priority = looking(Core.get_priority)
    is_pinned = looking(Core.is_pinned)
    explain = looking(Core.explain)

    @overload
    async def listdir(self, path: _Str | None = None) -> list[str]: ...
    @overload
    async def listdir(self, path: _Bytes) -> list[bytes]: ...
    async def listdir(self, path: Any = "/") -> Any:
        """Return the names in a directory as a list, in order of insertion. O(names)."""
        return await self._look(self._fs.listdir, path)

    @overload
    async def readlink(self, path: _Str) -> str: ...
    @overload
    async def readlink(self, path: _Bytes) -> bytes: ...
    async def readlink(self, path: Any) -> Any:
        """What the symbolic link points to."""
        return await self._look(self._fs.readlink, path)

    @overload
    async def realpath(self, path: _Str) -> str: ...
    @overload
    async def realpath(self, path: _Bytes) -> bytes: ...
    async def realpath(self, path: Any) -> Any:
        """The absolute path without `.`, `..`, doubled slashes and symbolic links."""
        return await self._look(self._fs.realpath, path)

    async def _look(self, method: Callable[..., Any], path: Any) -> Any:
        return await self._call(self._looks_at_once, (), method, (path,), {})

    @overload
    def scandir(self, path: _Str | None = None) -> ScanIterator[str]: ...
    @overload
    def scandir(self, path: _Bytes) -> ScanIterator[bytes]: ...
    def scandir(self, path: Any = "/") -> Any:
        """The entries of a directory, for `async for`, which also raises what is wrong with it."""
        return ScanIterator(self, path)

    @overload
    def walk(
        self,
        top: _Str | None = None,
        topdown: bool = True,
        onerror: Callable[[OSError], object] | None = None,
        followlinks: bool = False,
    ) -> AsyncIterator[tuple[str, list[str], list[str]]]: ...
    @overload
    def walk(
        self,
        top: _Bytes,
        topdown: bool = True,
        onerror: Callable[[OSError], object] | None = None,
        followlinks: bool = False,
    ) -> AsyncIterator[tuple[bytes, list[bytes], list[bytes]]]: ...
    def walk(
        self,
        top: Any = "/",
        topdown: bool = True,
        onerror: Callable[[OSError], object] | None = None,
        followlinks: bool = False,
    ) -> Any:
        """Go through a tree with `async for`, as `os.walk` does; others go on in between."""
        return walk(self, top, topdown, onerror, followlinks)

    @overload
    async def glob(self, pattern: _Str) -> list[str]: ...
    @overload
    async def glob(self, pattern: _Bytes) -> list[bytes]: ...
    async def glob(self, pattern: Any) -> Any:
        """The paths that match a pattern, from a thread; see `brimfs.FileSystem.glob`."""
        return await in_thread(self._fs.glob, pattern)

    # ------------------------------------------------------------ changing names

    chmod = changing(Core.chmod)
    chown = changing(Core.chown)
    utime = changing(Core.utime)
    setxattr = changing(Core.setxattr)
    removexattr = changing(Core.removexattr)
    mkdir = changing(Core.mkdir)
    rmdir = changing(Core.rmdir)
    remove = changing(Core.remove)
    rename = changing(Core.rename)
    replace = changing(Core.replace)
    symlink = changing(Core.symlink)
    link = changing(Core.link)
    touch = changing(Core.touch)
    set_priority = changing(Core.set_priority)
    pin = changing(Core.pin)
    unpin = changing(Core.unpin)
    rmtree = lasting(Core.rmtree)

    @overload
    async def move(self, src: _Path, dst: _Str) -> str: ...
    @overload
    async def move(self, src: _Path, dst: _Bytes) -> bytes: ...
    async def move(self, src: _Path, dst: Any) -> Any:
        """Rename src to dst, or into dst if that is a directory. Return the new path."""
        return await self._call(self._changes_at_once, (), self._fs.move, (src, dst), {})

    @overload
    async def copytree(self, src: _Path, dst: _Str) -> str: ...
    @overload
    async def copytree(self, src: _Path, dst: _Bytes) -> bytes: ...
    async def copytree(self, src: _Path, dst: Any) -> Any:
        """Copy a directory and all in it to dst, in a thread, which waits for file locks too."""
        return await patiently(functools.partial(self._fs.copytree, src, dst))

    # ------------------------------------------------------------ archives and trees of the host

    # In a thread, which waits for file locks too and calls `progress` and `filter`. A task that is
    # cancelled stops it, as a `progress` that returns False does.
    extract = transferring(Core.extract)
    archive = transferring(Core.archive)
    import_tree = transferring(Core.import_tree)
    export_tree = transferring(Core.export_tree)

    # ------------------------------------------------------------ the filesystem as a whole

    sync = lasting(Core.sync)
    gc = lasting(Core.gc)
    set_memory_limit = lasting(Core.set_memory_limit)
    trim = lasting(Core.trim)
    clear_caches = lasting(Core.clear_caches)

    async def close(self) -> None:
        """Close the filesystem, in a thread. With a store, everything is made durable first."""
        await in_thread(self._fs.close)

    async def refresh(
        self, on_external_change: Literal["reload", "keep", "raise"] | None = None
    ) -> ExternalChanges:
        """Look for what others did with the tree that this filesystem mirrors, in a thread."""
        return await in_thread(self._fs.refresh, on_external_change)

    async def external_changes(self) -> ExternalChanges:
        """What others did so far; see `brimfs.FileSystem.external_changes`."""
        return await in_thread(self._fs.external_changes)

    async def snapshot(self) -> FileSystem:
        """The filesystem as it is now, for reading, made in a thread."""
        return FileSystem.over(await in_thread(self._fs.snapshot))

    async def branch(self) -> FileSystem:
        """A copy of the filesystem as it is now, to be changed by itself, made in a thread."""
        return FileSystem.over(await in_thread(self._fs.branch))

    def transaction(self) -> Transaction:
        """Several changes that come together or not at all: `async with` gives a branch to change.

        Begun and committed in a thread; see `brimfs.FileSystem.transaction`.
        """
        return Transaction(self._fs.transaction, FileSystem.over)

    async def watch(
        self, path: _Path | None = None, *, recursive: bool = False, capacity: int = 4096
    ) -> Watch:
        """Watch a directory or a name, as `brimfs.FileSystem.watch`; begun in a thread."""
        begin = functools.partial(self._fs.watch, path, recursive=recursive, capacity=capacity)
        return Watch(await in_thread(begin))

    async def usage(self) -> Usage:
        """How much of the content is only in this filesystem, counted in a thread."""
        return await in_thread(self._fs.usage)

    async def diff(self, since: FileSystem) -> Diff:
        """What became of the filesystem since a snapshot of it, found in a thread."""
        return await in_thread(self._fs.diff, since._fs)

    async def restore(self, to: FileSystem) -> None:
        """Make the filesystem what it was when a snapshot of it was made, in a thread."""
        await in_thread(self._fs.restore, to._fs)

    async def preload(self, paths: Iterable[_Path], priority: int | None = None) -> Preload:
        """Bring files into memory ahead of use, in the background. Return a Preload to wait for."""
        if not isinstance(paths, (str, bytes)):
            paths = list(paths)
        return Preload(await in_thread(self._fs.preload, paths, priority))


def _pattern(
    buffering: int, encoding: str | None, errors: str | None, newline: str | None
) -> io.TextIOWrapper:
    """A text file with these settings, or what is wrong with them, before any file is touched."""
    if buffering < -1:
        raise ValueError("invalid buffering size")
    if buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    encoding = "utf-8" if encoding is None else encoding
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, newline=newline)


def _opened(
    make: Callable[_P, FileSystem],
) -> Callable[_P, Coroutine[Any, Any, FileSystem]]:
    async def open_filesystem(*args: _P.args, **keywords: _P.kwargs) -> FileSystem:
        """A `FileSystem` with these arguments, made in a thread: a store is read from the disk."""
        return await in_thread(make, *args, **keywords)

    return open_filesystem


open_filesystem = _opened(FileSystem)
