"""How much memory the machine, or the control group, still gives."""

from __future__ import annotations

import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def get_available_memory() -> int | None:
    """Bytes that can still be allocated; `None` where nothing says so."""
    if not sys.platform.startswith("linux"):
        return None
    host = _meminfo()
    limit, current = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is None:
        limit = _number(_CGROUP / "memory/memory.limit_in_bytes")
        current = _number(_CGROUP / "memory/memory.usage_in_bytes")
        # Without a limit the first version reports more than any machine has.
        if limit is not None and limit >= host.get("MemTotal", sys.maxsize):
            limit = None
    if limit is not None and current is not None:
        return max(limit - current, 0)
    return host.get("MemAvailable")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _meminfo() -> dict[str, int]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdigit():
            found[name] = int(number[0]) * 1024
    return found
