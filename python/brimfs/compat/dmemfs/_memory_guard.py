"""The check of the machine's memory before bytes are charged."""

from __future__ import annotations

import time
import warnings

from brimfs.compat.dmemfs import _memory_info

MODES = ("none", "init", "per_write")
ACTIONS = ("warn", "raise")


class MemoryGuard:
    """Compares what is about to be added with the memory that the machine still gives."""

    __slots__ = ("_action", "_available", "_interval", "_probed_at", "per_write")

    def __init__(self, mode: str, action: str, interval: float, quota: int) -> None:
        if mode not in MODES:
            raise ValueError(f"memory_guard must be one of {', '.join(MODES)}, not {mode!r}")
        if action not in ACTIONS:
            raise ValueError(
                f"memory_guard_action must be one of {', '.join(ACTIONS)}, not {action!r}"
            )
        self._action = action
        self._interval = interval
        self._available: int | None = None
        self._probed_at: float | None = None
        self.per_write = mode == "per_write"
        if mode != "none":
            self._compare(quota, self._probe(), "max_quota")

    def check(self, needed: int) -> None:
        """Warns, or raises `MemoryError`, if so many more bytes are not there. Called in
        `per_write` only.
        """
        if needed <= 0:
            return
        now = time.monotonic()
        if self._probed_at is None or now - self._probed_at >= self._interval:
            self._probe()
        self._compare(needed, self._available, "a write")

    def _probe(self) -> int | None:
        self._available = _memory_info.get_available_memory()
        self._probed_at = time.monotonic()
        return self._available

    def _compare(self, needed: int, available: int | None, what: str) -> None:
        if available is None or needed <= available:
            return
        text = (
            f"{what} of {needed} bytes exceeds the {available} bytes of memory that are available"
        )
        if self._action == "raise":
            raise MemoryError(text)
        warnings.warn(text, ResourceWarning, stacklevel=5)
