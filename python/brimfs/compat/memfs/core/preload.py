"""Bringing files into memory ahead of use."""

from __future__ import annotations

import time
from typing import Self

import brimfs

__all__ = ["PreloadTask"]


class PreloadTask(str):
    """The identifier of a preload, `task_NUMBER_MILLISECONDS`, which can be waited for."""

    _preload: brimfs.Preload

    @classmethod
    def start(cls, core: brimfs.FileSystem, number: int, key: str) -> Self:
        """Starts to bring in a file."""
        task = cls(f"task_{number}_{time.time_ns() // 1_000_000}")
        task._preload = core.preload([key])
        return task

    def done(self) -> bool:
        """Whether it is over."""
        return self._preload.done()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over, at most `timeout` seconds. Returns whether it is."""
        return self._preload.wait(timeout)

    def result(self) -> brimfs.PreloadReport:
        """Wait, and return what was done. Raises what went wrong, such as `FileNotFoundError`."""
        self._preload.wait()
        report = self._preload.result()
        for error in report.errors:
            raise error
        return report
