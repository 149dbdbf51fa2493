"""Which filesystems of the process were made by `init`, one for each directory."""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from typing import Any

from brimfs.compat.memfs.core.filesystem import MemFileSystem

__all__ = ["InstanceConflictError", "InstanceManager"]

DEFAULT_PERSIST_PATH = "./memfs_data"


class InstanceConflictError(Exception):
    """Another filesystem of this process has the directory, or one above or below it."""


def get_unique_temp_path() -> str:
    """A path below the temporary directory of the system that nothing has; it is not made."""
    return os.path.join(tempfile.gettempdir(), f"memfs_{uuid.uuid4().hex[:12]}")


def _normal(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


class InstanceManager:
    """Counts who uses which filesystem, and knows the one of the process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._instances: dict[str, MemFileSystem] = {}
        self._counts: dict[str, int] = {}
        self._global: MemFileSystem | None = None

    def init(
        self, persist_path: str | os.PathLike[str] | None, storage_mode: str, **options: Any
    ) -> MemFileSystem:
        if persist_path is None:
            is_temp = storage_mode == "temp"
            persist_path = get_unique_temp_path() if is_temp else DEFAULT_PERSIST_PATH
        path = _normal(persist_path)
        with self._lock:
            filesystem = self._instances.get(path)
            if filesystem is not None and not filesystem._is_shut:
                if "temp" in (storage_mode, filesystem.storage_mode):
                    raise InstanceConflictError(f"{path!r} is in use by another filesystem")
                self._counts[path] += 1
            else:
                self._refuse_nested(path)
                filesystem = MemFileSystem(persist_path=path, storage_mode=storage_mode, **options)
                self._instances[path] = filesystem
                self._counts[path] = 1
            self._global = filesystem
            return filesystem

    def _refuse_nested(self, path: str) -> None:
        for other, filesystem in self._instances.items():
            if (
                other != path
                and not filesystem._is_shut
                and os.path.commonpath([path, other]) in (path, other)
            ):
                raise InstanceConflictError(
                    f"{path!r} and {other!r}, which is in use, lie in each other"
                )

    def global_filesystem(self) -> MemFileSystem:
        with self._lock:
            if self._global is None or self._global._is_shut:
                self.init(None, "temp")
            assert self._global is not None, "init sets it"
            return self._global

    def set_global(self, filesystem: MemFileSystem | None) -> None:
        with self._lock:
            self._global = filesystem

    def close(self, filesystem: MemFileSystem | None) -> bool:
        with self._lock:
            if filesystem is None:
                filesystem = self._global
            for path, managed in self._instances.items():
                if managed is filesystem:
                    return self.close_path(path)
            return False

    def close_path(self, path: str | os.PathLike[str]) -> bool:
        path = _normal(path)
        with self._lock:
            if path not in self._instances:
                return False
            self._counts[path] -= 1
            if self._counts[path] > 0:
                return False
            self._end(path)
            return True

    def _end(self, path: str) -> None:
        filesystem = self._instances.pop(path)
        del self._counts[path]
        # Another one that is global stays it.
        if self._global is filesystem:
            self._global = None
        filesystem.shutdown()

    def close_all(self) -> None:
        with self._lock:
            for path in list(self._instances):
                self._end(path)

    def stats(self) -> dict[str, dict[str, Any]]:
        with self._lock:
            return {
                path: {
                    "ref_count": self._counts[path],
                    "storage_mode": filesystem.storage_mode,
                    "persist_path": filesystem.persist_path,
                }
                for path, filesystem in self._instances.items()
            }

    def has(self, path: str | os.PathLike[str]) -> bool:
        with self._lock:
            return _normal(path) in self._instances


manager = InstanceManager()
