"""The log of operations: the newest in memory, on request all of them in a file."""

from __future__ import annotations

import enum
import json
import os
import threading
import time
from collections import Counter, deque
from datetime import datetime
from typing import Any

__all__ = ["LogEntry", "OperationLogger", "OperationType"]

KEPT_ENTRIES = 10_000


class OperationType(enum.Enum):
    """What an entry is about."""

    READ = "READ"
    WRITE = "WRITE"
    DELETE = "DELETE"
    MKDIR = "MKDIR"
    RMDIR = "RMDIR"
    RENAME = "RENAME"
    SWAP_OUT = "SWAP_OUT"
    SWAP_IN = "SWAP_IN"
    GC = "GC"
    PRELOAD = "PRELOAD"
    SET_PRIORITY = "SET_PRIORITY"


class LogEntry(dict[str, Any]):
    """One operation: a dict whose keys are attributes too.

    Keys: `operation`, `path`, `timestamp` (local time, ISO 8601), `size` in bytes, `priority`,
        `duration_ms`, `success`, `error`, `metadata`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of it."""
        return dict(self)


class OperationLogger:
    """Keeps the newest 10,000 operations, and writes each to a file if it has one.

    Every filesystem has its own, and its own file.
    """

    def __init__(self, log_path: str | os.PathLike[str] | None = None) -> None:
        self._entries: deque[tuple[float, LogEntry]] = deque(maxlen=KEPT_ENTRIES)
        self._lock = threading.Lock()
        self.log_path = None if log_path is None else os.path.expanduser(os.fspath(log_path))
        self._file = None
        if self.log_path is not None:
            os.makedirs(os.path.dirname(os.path.abspath(self.log_path)), exist_ok=True)
            self._file = open(self.log_path, "a", encoding="utf-8", errors="backslashreplace")

    def log(
        self,
        operation: OperationType,
        path: str,
        size: int = 0,
        priority: int | None = None,
        duration_ms: float = 0.0,
        success: bool = True,
        error: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Append an entry."""
        now = time.time()
        entry = LogEntry(
            operation=operation.value,
            path=path,
            timestamp=now,
            size=size,
            priority=priority,
            duration_ms=duration_ms,
            success=success,
            error=error,
            metadata={} if metadata is None else metadata,
        )
        with self._lock:
            self._entries.append((now, entry))
            if self._file is not None:
                self._file.write(_line(now, entry))
                self._file.flush()

    def get_entries(
        self,
        start_time: float | str | datetime | None = None,
        end_time: float | str | datetime | None = None,
        operation_type: OperationType | str | None = None,
        path_pattern: str | None = None,
        limit: int = 100,
    ) -> list[LogEntry]:
        """The newest `limit` entries that match, the oldest of them first.

        start_time, end_time: seconds since the epoch, a `datetime`, or ISO text in local time.
        path_pattern: a part of the path.
        """
        start, end = _seconds(start_time), _seconds(end_time)
        wanted = operation_type
        if isinstance(wanted, OperationType):
            wanted = wanted.value
        with self._lock:
            entries = list(self._entries)
        found = [
            _shown(entry)
            for at, entry in entries
            if (start is None or at >= start)
            and (end is None or at <= end)
            and (wanted is None or entry["operation"] == wanted)
            and (path_pattern is None or path_pattern in entry["path"])
        ]
        return found[-limit:] if limit > 0 else []

    def get_stats(self) -> dict[str, Any]:
        """`total_entries`, `successful`, `failed`, and `by_operation` by kind."""
        with self._lock:
            entries = [entry for _, entry in self._entries]
        successful = sum(entry["success"] for entry in entries)
        return {
            "total_entries": len(entries),
            "successful": successful,
            "failed": len(entries) - successful,
            "by_operation": dict(Counter(entry["operation"] for entry in entries)),
        }

    def clear(self) -> None:
        """Forget the entries in memory."""
        with self._lock:
            self._entries.clear()

    def export_json(self, path: str | os.PathLike[str]) -> None:
        """Write the entries in memory to a file of the host, as a JSON list."""
        with self._lock:
            entries = [_shown(entry) for _, entry in self._entries]
        with open(path, "w", encoding="utf-8") as file:
            json.dump(entries, file, indent=2, default=str)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def _shown(entry: LogEntry) -> LogEntry:
    at = datetime.fromtimestamp(entry["timestamp"]).isoformat()
    return LogEntry(entry, timestamp=at)


def _seconds(moment: float | str | datetime | None) -> float | None:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.timestamp() if isinstance(moment, datetime) else moment


def _line(now: float, entry: LogEntry) -> str:
    at = datetime.fromtimestamp(now)
    level = "INFO" if entry["success"] else "ERROR"
    status = "OK" if entry["success"] else f"FAILED: {entry['error']}"
    return (
        f"{at:%Y-%m-%d %H:%M:%S} {level} [{at:%H:%M:%S.%f}] "
        f'{entry["operation"]} "{entry["path"]}" {status}\n'
    )
