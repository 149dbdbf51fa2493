"""The interface of `memfs` (a memory-first filesystem with a directory behind it) on brimfs.

>>> import tempfile
>>> from brimfs.compat.memfs import MemFileSystem
>>> with MemFileSystem(memory_limit=0.5, persist_path=tempfile.mkdtemp()) as fs:
...     fs.write("/a/b.txt", "hello", priority=8)
...     fs.read("/a/b.txt")
...     fs.get_stats()["memory"]["file_count"]
5
b'hello'
1

Calls, results and exceptions are those of the older package, its losses of data are not.
`install()` makes `import memfs` find this one. What it adds: `MemFileSystem.flush`, `close`,
`glob(files_only=)`, and tasks of `preload` that can be waited for. Its internal
`VirtualDirectory` and `DirectoryManager` are left out."""

from __future__ import annotations

from brimfs.compat.memfs.api.native import (
    clear_persist,
    close,
    close_all_instances,
    close_instance,
    delete,
    exists,
    gc,
    get_file_info,
    get_global_fs,
    get_instance_count,
    get_instance_stats,
    get_memory_map,
    get_priority,
    get_stats,
    glob,
    has_instance,
    init,
    listdir,
    mkdir,
    open,  # noqa: A004
    preload,
    read,
    rmdir,
    set_global_fs,
    set_priority,
    write,
)
from brimfs.compat.memfs.core.file import VirtualFile
from brimfs.compat.memfs.core.filesystem import MemFileSystem
from brimfs.compat.memfs.core.instance_manager import InstanceConflictError, get_unique_temp_path
from brimfs.compat.memfs.storage.hybrid import ExternalModificationError
from brimfs.compat.memfs.utils.logger import OperationLogger, OperationType
from brimfs.compat.memfs.utils.stats import Statistics

__all__ = [
    "ExternalModificationError",
    "InstanceConflictError",
    "MemFileSystem",
    "OperationLogger",
    "OperationType",
    "Statistics",
    "VirtualFile",
    "clear_persist",
    "close",
    "close_all_instances",
    "close_instance",
    "delete",
    "exists",
    "gc",
    "get_file_info",
    "get_global_fs",
    "get_instance_count",
    "get_instance_stats",
    "get_memory_map",
    "get_priority",
    "get_stats",
    "get_unique_temp_path",
    "glob",
    "has_instance",
    "init",
    "listdir",
    "mkdir",
    "open",
    "preload",
    "read",
    "rmdir",
    "set_global_fs",
    "set_priority",
    "write",
]

__version__ = "0.1.0"
"""The version of the interface."""


def install() -> None:
    """Make `import memfs`, and of its submodules, find this package in this process."""
    from brimfs.compat import _install

    _install.install("memfs")
