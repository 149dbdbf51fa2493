"""Counters of operations."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brimfs.compat.memfs.storage.hybrid import Tiers

__all__ = ["Statistics"]

MIB = 1024 * 1024
AVERAGED_OPERATIONS = 1000


class Statistics:
    """Counters of one filesystem since it was made or cleared. `get_stats` names the units."""

    def __init__(self) -> None:
        self.start_time = time.time()
        self.reset()

    def reset(self) -> None:
        """Set every counter to zero."""
        self.hits = self.misses = 0
        self.preloads = 0
        self.read_count = self.write_count = self.delete_count = 0
        self._read_times: deque[float] = deque(maxlen=AVERAGED_OPERATIONS)
        self._write_times: deque[float] = deque(maxlen=AVERAGED_OPERATIONS)

    def count_read(self, is_hit: bool, seconds: float) -> None:
        """Count a read that succeeded."""
        self.read_count += 1
        if is_hit:
            self.hits += 1
        else:
            self.misses += 1
        self._read_times.append(seconds)

    def count_write(self, seconds: float) -> None:
        """Count a write that succeeded."""
        self.write_count += 1
        self._write_times.append(seconds)

    def get_stats(self, tiers: Tiers, path: str, capacity: int) -> dict[str, Any]:
        """All sections: sizes in bytes and MiB, times in milliseconds, shares in percent."""
        lookups = self.hits + self.misses
        return {
            "uptime_seconds": time.time() - self.start_time,
            "memory": {
                "current_usage": tiers.used,
                "current_usage_mb": tiers.used / MIB,
                "peak_usage": tiers.peak,
                "peak_usage_mb": tiers.peak / MIB,
                "limit": tiers.limit,
                "limit_mb": tiers.limit / MIB,
                "usage_percent": _percent(tiers.used, tiers.limit),
                "file_count": tiers.files,
                "total_size": tiers.used,
                "total_size_mb": tiers.used / MIB,
            },
            "disk": {
                "path": path,
                "current_usage": tiers.disk_bytes,
                "current_usage_mb": tiers.disk_bytes / MIB,
                "total_capacity": capacity,
                "total_capacity_mb": capacity / MIB,
                "usage_percent": _percent(tiers.disk_bytes, capacity),
                "file_count": tiers.disk_files,
            },
            "cache": {
                "hits": self.hits,
                "misses": self.misses,
                "hit_rate": _percent(self.hits, lookups),
                "swaps_in": tiers.swaps_in,
                "swaps_out": tiers.evictions,
                "preloads": self.preloads,
                "evictions": tiers.evictions,
            },
            "operations": {
                "total_operations": self.read_count + self.write_count + self.delete_count,
                "read_count": self.read_count,
                "write_count": self.write_count,
                "delete_count": self.delete_count,
                "avg_read_time_ms": _mean_ms(self._read_times),
                "avg_write_time_ms": _mean_ms(self._write_times),
            },
        }


def _percent(part: float, whole: float) -> float:
    return part / whole * 100 if whole else 0.0


def _mean_ms(times: deque[float]) -> float:
    return sum(times) / len(times) * 1000 if times else 0.0
