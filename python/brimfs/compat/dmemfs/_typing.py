"""The shapes of the dicts that `stats` and `stat` return."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["MFSStatResult", "MFSStats"]


class MFSStats(TypedDict):
    """What `MemoryFileSystem.stats` returns. All sizes are bytes."""

    used_bytes: int
    quota_bytes: int
    free_bytes: int
    file_count: int
    dir_count: int
    chunk_count: int
    overhead_per_chunk_estimate: int


class MFSStatResult(TypedDict):
    """What `MemoryFileSystem.stat` returns. Times are seconds since the epoch."""

    size: int
    created_at: float
    modified_at: float
    generation: int
    is_dir: bool
