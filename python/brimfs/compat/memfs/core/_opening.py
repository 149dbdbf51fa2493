"""What a filesystem stands on: the core, its limit, and the files of the host."""

from __future__ import annotations

import errno
import logging
import os
import stat
from typing import Any

import brimfs

_CORE_SPARE = 32 * 1024 * 1024
"""What the core gets beyond the limit, which counts content alone."""


_LOG = logging.getLogger("brimfs.compat.memfs")


def open_core(path: str, is_temp: bool, limit: int) -> brimfs.FileSystem:
    core_limit = limit + max(limit // 4, _CORE_SPARE)
    if not is_temp:
        return brimfs.FileSystem(
            path,
            layout="mirror",
            memory_limit=core_limit,
            durability="manual",
            memory_guard="off",
            priority_boost_threshold=None,
        )
    if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise FileExistsError(errno.EEXIST, "Not an empty directory", path)
    os.makedirs(path, exist_ok=True)
    options: dict[str, Any] = {
        "memory_limit": core_limit,
        "memory_guard": "off",
        "priority_boost_threshold": None,
    }
    try:
        return brimfs.FileSystem(spill_dir=path, **options)
    except (OSError, ValueError) as fault:
        # A directory in memory, for example. What the program stores is not at stake.
        fs = brimfs.FileSystem(**options)
        _LOG.warning("%s is no place to spill to, another one is used: %s", path, fault)
        return fs


def limit_of(limit_bytes: int | None, share: float) -> int:
    if limit_bytes is not None:
        if limit_bytes < 0:
            raise ValueError(f"memory_limit_bytes must not be negative: {limit_bytes}")
        return limit_bytes
    if not 0 < share <= 1:
        raise ValueError(f"the share of memory must be more than 0 and at most 1: {share}")
    with brimfs.FileSystem(memory_limit=float(share), spill_dir=False) as probe:
        return probe.stats().memory_limit


def host_state(path: str) -> tuple[int, int] | None:
    """When a file of the host changed, in nanoseconds, and its length."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if stat.S_ISREG(status.st_mode) else None
