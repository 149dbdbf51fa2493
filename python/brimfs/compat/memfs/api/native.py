"""Functions on the filesystem of the process, which `init` makes, and on what `init` made."""

from __future__ import annotations

import os
from typing import Any

from brimfs.compat.memfs.core.file import VirtualFile
from brimfs.compat.memfs.core.filesystem import DEFAULT_PRIORITY, MemFileSystem
from brimfs.compat.memfs.core.instance_manager import get_unique_temp_path, manager
from brimfs.compat.memfs.core.preload import PreloadTask

__all__ = [
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


def init(
    memory_limit_bytes: int | None = None,
    memory_limit_percent: float = 0.8,
    persist_path: str | os.PathLike[str] | None = None,
    storage_mode: str = "temp",
    worker_threads: int = 4,
    enable_logging: bool = True,
    log_path: str | os.PathLike[str] | None = None,
    priority_boost_threshold: int = 10,
    *,
    memory_limit: float | None = None,
) -> MemFileSystem:
    """Make a filesystem that the functions of this module use; see `MemFileSystem`.

    persist_path: `None` is a new directory below the temporary one of the system, in persist mode
        `./memfs_data`. A second `init` of one persist directory returns the same filesystem;
        every one wants a `close`.

    Raises `InstanceConflictError` where a temporary filesystem would share a directory, or one
    lies in another."""
    return manager.init(
        persist_path,
        storage_mode,
        memory_limit_bytes=memory_limit_bytes,
        memory_limit_percent=memory_limit_percent,
        worker_threads=worker_threads,
        enable_logging=enable_logging,
        log_path=log_path,
        priority_boost_threshold=priority_boost_threshold,
        memory_limit=memory_limit,
    )


def get_global_fs() -> MemFileSystem:
    """The filesystem of the process; a temporary one is made if there is none."""
    return manager.global_filesystem()


def set_global_fs(fs: MemFileSystem | None) -> None:
    """Make another filesystem the one of the process."""
    manager.set_global(fs)


def close(fs: MemFileSystem | None = None) -> bool:
    """Give back what `init` returned, the filesystem of the process if `None`. Returns whether it
    was shut down.
    """
    return manager.close(fs)


def close_instance(path: str | os.PathLike[str]) -> bool:
    """As `close`, by the directory. `False` for one that nobody has."""
    return manager.close_path(path)


def close_all_instances() -> None:
    """Shut down all that `init` made, whoever uses it."""
    manager.close_all()


def get_instance_stats() -> dict[str, dict[str, Any]]:
    """Absolute directories to `ref_count`, `storage_mode` and `persist_path`."""
    return manager.stats()


def get_instance_count() -> int:
    """How many filesystems `init` made that are open."""
    return len(manager.stats())


def has_instance(path: str | os.PathLike[str]) -> bool:
    """Whether `init` made a filesystem of that directory that is open."""
    return manager.has(path)


def clear_persist() -> bool:
    """Remove all files of the filesystem of the process, on the disk too. `False` if its
    directory is gone.
    """
    fs = get_global_fs()
    if not os.path.isdir(fs.persist_path):
        return False
    fs.clear()
    fs.flush()
    return True


def open(path: str, mode: str = "rb", priority: int = DEFAULT_PRIORITY) -> VirtualFile:  # noqa: A001
    """See `MemFileSystem.open`."""
    return get_global_fs().open(path, mode, priority)


def read(path: str, priority: int | None = None) -> bytes:
    """See `MemFileSystem.read`."""
    return get_global_fs().read(path, priority)


def write(path: str, data: str | bytes | bytearray, priority: int = DEFAULT_PRIORITY) -> int:
    """See `MemFileSystem.write`."""
    return get_global_fs().write(path, data, priority)


def exists(path: str) -> bool:
    """See `MemFileSystem.exists`."""
    return get_global_fs().exists(path)


def delete(path: str) -> bool:
    """See `MemFileSystem.delete`."""
    return get_global_fs().delete(path)


def mkdir(path: str) -> bool:
    """See `MemFileSystem.mkdir`."""
    return get_global_fs().mkdir(path)


def rmdir(path: str) -> bool:
    """See `MemFileSystem.rmdir`."""
    return get_global_fs().rmdir(path)


def listdir(path: str = "/") -> list[str]:
    """See `MemFileSystem.listdir`."""
    return get_global_fs().listdir(path)


def glob(pattern: str) -> list[str]:
    """See `MemFileSystem.glob`."""
    return get_global_fs().glob(pattern)


def set_priority(path: str, priority: int) -> bool:
    """See `MemFileSystem.set_priority`."""
    return get_global_fs().set_priority(path, priority)


def get_priority(path: str) -> int | None:
    """See `MemFileSystem.get_priority`."""
    return get_global_fs().get_priority(path)


def preload(path: str, priority: int = DEFAULT_PRIORITY) -> PreloadTask:
    """See `MemFileSystem.preload`."""
    return get_global_fs().preload(path, priority)


def gc(target_usage: float = 0.5) -> int:
    """See `MemFileSystem.gc`."""
    return get_global_fs().gc(target_usage)


def get_stats() -> dict[str, Any]:
    """See `MemFileSystem.get_stats`."""
    return get_global_fs().get_stats()


def get_file_info(path: str) -> dict[str, Any] | None:
    """See `MemFileSystem.get_file_info`."""
    return get_global_fs().get_file_info(path)


def get_memory_map() -> dict[str, dict[str, Any]]:
    """See `MemFileSystem.get_memory_map`."""
    return get_global_fs().get_memory_map()
