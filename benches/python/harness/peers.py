"""The candidates: brimfs and what it is measured against, each through its cheapest calls.

A candidate offers plain callables, where possible the library's own bound methods, so that no
wrapper is measured. What it cannot do is `None`.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

GIB = 1 << 30
TMPFS = "/dev/shm"


class Candidate(ABC):
    """One empty filesystem. Paths given to `path` are absolute and `/`-separated."""

    name: str
    exists: Callable[[str], bool]
    read_bytes: Callable[[str], bytes]
    write_bytes: Callable[[str, bytes | bytearray], Any]
    open: Callable[[str, str], Any]
    """Binary handles: modes `rb`, `wb` and `xb`."""
    remove: Callable[[str], Any]
    rename: Callable[[str, str], Any]
    listdir: Callable[[str], list[Any]]
    mkdir: Callable[[str], Any]
    array: Callable[[str], np.ndarray[Any, Any]] | None = None
    """A numpy array over a whole file, without a copy; it is dropped before the next call."""
    drop_name_cache: Callable[[str], None] | None = None
    """Makes the next `listdir` of this directory start without cached names."""
    fsspec: tuple[Any, str] | None = None
    """The same store through fsspec, and the path there below which files may be made."""
    cache_of_local_files: Callable[[str, bool], Any] | None = None
    """A cache in front of fsspec's local files: where it may keep something, and whether it asks
    for each read if the file changed."""
    write_async: Callable[[str, bytes], Awaitable[object]] | None = None
    """Opens a file, writes all of it and closes it, for event loops."""
    read_async: Callable[[str], Awaitable[bytes]] | None = None
    """The same for reading."""
    thread_safe = True
    slowdown = 1
    """See `Scale.slowdown`."""

    def path(self, absolute: str) -> str:
        """The candidate's form of a path, as a string that nothing has seen before."""
        return "".join(absolute)

    def resident(self) -> int | None:
        """Bytes of memory that the filesystem itself says it holds."""
        return None

    @abstractmethod
    def close(self) -> None: ...


class Brimfs(Candidate):
    name = "brimfs"

    def __init__(self) -> None:
        import fsspec

        import brimfs.aio
        import brimfs.fsspec

        self._fs = fs = brimfs.FileSystem(memory_limit=8 * GIB)
        self._afs = brimfs.aio.FileSystem.over(fs)
        self.write_async, self.read_async = self._write_async, self._read_async
        self._name = f"bench{id(self)}"
        brimfs.fsspec.register(self._name, fs)
        self.fsspec = fsspec.filesystem("brim"), f"brim://{self._name}"
        self.exists = fs.exists
        self.read_bytes = fs.read_bytes
        self.write_bytes = fs.write_bytes
        self.open = fs.open
        self.remove = fs.remove
        self.rename = fs.rename
        self.listdir = fs.listdir
        self.mkdir = fs.mkdir
        self.array = lambda path: np.frombuffer(fs.view(path), np.uint8)
        self.drop_name_cache = self._change_directory

    def cache_of_local_files(self, directory: str, asks: bool) -> Any:
        from brimfs.fsspec.cache import BrimCacheFileSystem

        return BrimCacheFileSystem(
            target_protocol="file",
            memory_limit="1GiB",
            spill_dir=directory,
            validate="always" if asks else "never",
        )

    async def _write_async(self, path: str, data: bytes) -> None:
        async with await self._afs.open(path, "wb") as file:
            await file.write(data)

    async def _read_async(self, path: str) -> bytes:
        async with await self._afs.open(path, "rb") as file:
            return await file.read()

    def _change_directory(self, directory: str) -> None:
        self._fs.write_bytes(f"{directory}/zzz", b"")
        self._fs.remove(f"{directory}/zzz")

    def resident(self) -> int:
        return self._fs.stats().resident

    def close(self) -> None:
        import brimfs.fsspec.cache

        brimfs.fsspec.clear(self._name)
        brimfs.fsspec.cache.close_all()
        self._fs.close()


class DMemFS(Candidate):
    name = "D-MemFS"

    def __init__(self) -> None:
        import dmemfs

        self._fs = fs = dmemfs.MemoryFileSystem(max_quota=8 * GIB)
        self._afs = dmemfs.AsyncMemoryFileSystem(max_quota=8 * GIB)
        self.write_async, self.read_async = self._write_async, self._read_async
        self.exists = fs.exists
        self.read_bytes = self._read
        self.write_bytes = self._write
        self.open = fs.open
        self.remove = fs.remove
        self.rename = fs.rename
        self.listdir = fs.listdir
        self.mkdir = fs.mkdir
        # Its only way out is a copy of the whole file (`export_as_bytesio`): no array without one.

    def _read(self, path: str) -> bytes:
        with self._fs.open(path, "rb") as file:
            return file.read()

    def _write(self, path: str, data: bytes | bytearray) -> None:
        with self._fs.open(path, "wb") as file:
            file.write(data)

    async def _write_async(self, path: str, data: bytes) -> None:
        async with await self._afs.open(path, "wb") as file:
            await file.write(data)

    async def _read_async(self, path: str) -> bytes:
        async with await self._afs.open(path, "rb") as file:
            content: bytes = await file.read()
            return content

    def close(self) -> None:
        pass


class PyFilesystem2(Candidate):
    name = "PyFilesystem2"

    def __init__(self) -> None:
        import warnings

        with warnings.catch_warnings():
            # It imports pkg_resources, which announces its own removal.
            warnings.simplefilter("ignore")
            from fs.memoryfs import MemoryFS

        self._fs = fs = MemoryFS()
        self.exists = fs.exists
        self.read_bytes = fs.readbytes
        self.write_bytes = self._write
        self.open = fs.openbin
        self.remove = fs.remove
        self.rename = fs.move
        self.listdir = fs.listdir
        self.mkdir = fs.makedir

    def _write(self, path: str, data: bytes | bytearray) -> None:
        # `writebytes` takes bytes alone.
        with self._fs.openbin(path, "w") as file:
            file.write(data)

    def close(self) -> None:
        self._fs.close()


class Fsspec(Candidate):
    name = "fsspec"
    # `exists` and `ls` go through the whole store.
    slowdown = 5

    def __init__(self) -> None:
        from fsspec.implementations.memory import MemoryFileSystem

        fs = MemoryFileSystem(skip_instance_cache=True)
        # The store is a class attribute that all instances share; this one gets its own.
        fs.store, fs.pseudo_dirs = {}, [""]
        self._fs = fs
        self.fsspec = fs, "memory://bench"
        self.exists = fs.exists
        self.read_bytes = fs.cat_file
        self.write_bytes = fs.pipe_file
        self.open = fs.open
        self.remove = fs.rm_file
        self.rename = self._rename
        self.listdir = self._listdir
        self.mkdir = fs.mkdir
        self.array = self._array

    def cache_of_local_files(self, directory: str, asks: bool) -> Any:
        from fsspec.implementations.cached import WholeFileCacheFileSystem

        return WholeFileCacheFileSystem(
            target_protocol="file", cache_storage=f"{directory}/cache", check_files=asks
        )

    def _rename(self, src: str, dst: str) -> None:
        self._fs.mv(src, dst)

    def _listdir(self, path: str) -> list[Any]:
        return self._fs.ls(path, detail=False)

    def _array(self, path: str) -> np.ndarray[Any, Any]:
        return np.frombuffer(self._fs.open(path, "rb").getbuffer(), np.uint8)

    def close(self) -> None:
        pass


class PyFakeFS(Candidate):
    name = "pyfakefs"
    # Its descriptor table is not made for threads.
    thread_safe = False
    slowdown = 20

    def __init__(self) -> None:
        from pyfakefs.fake_filesystem import FakeFilesystem, FakeOsModule
        from pyfakefs.fake_open import FakeFileOpen

        fs = FakeFilesystem()
        fake_os = FakeOsModule(fs)
        self._open = FakeFileOpen(fs)
        self.exists = fake_os.path.exists
        self.read_bytes = self._read
        self.write_bytes = self._write
        self.open = self._open
        self.remove = fake_os.remove
        self.rename = fake_os.rename
        self.listdir = fake_os.listdir
        self.mkdir = fake_os.mkdir

    def _read(self, path: str) -> bytes:
        with self._open(path, "rb") as file:
            return file.read()

    def _write(self, path: str, data: bytes | bytearray) -> None:
        with self._open(path, "wb") as file:
            file.write(data)

    def close(self) -> None:
        pass


class Tmpfs(Candidate):
    name = "tmpfs"

    def __init__(self) -> None:
        self._root = tempfile.mkdtemp(prefix="brimfs-bench", dir=TMPFS)
        self.exists = os.path.exists
        self.read_bytes = self._read
        self.write_bytes = self._write
        self.open = open
        self.remove = os.remove
        self.rename = os.rename
        self.listdir = os.listdir
        self.mkdir = os.mkdir
        self.array = lambda path: np.memmap(path, np.uint8, "r")
        # One turn of a thread for all three calls.
        self.write_async = lambda path, data: asyncio.to_thread(self._write, path, data)
        self.read_async = lambda path: asyncio.to_thread(self._read, path)

    @staticmethod
    def _read(path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    @staticmethod
    def _write(path: str, data: bytes | bytearray) -> None:
        with open(path, "wb") as file:
            file.write(data)

    def path(self, absolute: str) -> str:
        return self._root + absolute

    def close(self) -> None:
        shutil.rmtree(self._root)


class Buffer(Candidate):
    """`io.BytesIO` as a filesystem of open handles: what reading from memory costs at least."""

    name = "io.BytesIO"

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}
        self.write_bytes = self._content.__setitem__  # type: ignore[assignment]
        self.open = lambda path, _mode: io.BytesIO(self._content[path])
        self.mkdir = lambda _path: None

    def close(self) -> None:
        self._content.clear()


ALL: list[type[Candidate]] = [Brimfs, DMemFS, PyFilesystem2, Fsspec, PyFakeFS, Tmpfs]
