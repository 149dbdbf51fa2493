"""Threads that fail together, and the counters they share.

A crew stops every member when one of them raises, and hands the first error to whoever joins it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


class Stopped(Exception):
    """Another member of the crew failed; this one stops without an error of its own."""


class Crew:
    """Starts named threads; `join` raises the first error of any of them."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def start(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._run, args=(work,), name=name)
        self._threads.append(thread)
        thread.start()

    def check(self) -> None:
        """Raises `Stopped` when the crew is to stop: members call it between pieces of work."""
        if self._stop.is_set():
            raise Stopped

    def stop(self) -> None:
        self._stop.set()

    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:
            with self._lock:
                self._error = self._error or error
            self._stop.set()


@dataclass
class Meter:
    """What one stage did: the files and bytes it moved, the time from first to last step."""

    name: str
    files: int = 0
    bytes: int = 0
    first: float | None = None
    last: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self) -> None:
        with self._lock:
            if self.first is None:
                self.first = self.last = time.perf_counter()

    def add(self, *, files: int = 0, size: int = 0) -> None:
        now = time.perf_counter()
        with self._lock:
            self.files += files
            self.bytes += size
            self.last = now

    @property
    def seconds(self) -> float:
        return 0.0 if self.first is None else self.last - self.first

    def summary(self) -> dict[str, float | int | str]:
        seconds = self.seconds or float("nan")
        return {
            "stage": self.name,
            "files": self.files,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "mb_per_second": round(self.bytes / 1e6 / seconds, 1),
            "files_per_second": round(self.files / seconds),
        }


class DayTracker:
    """Says when a day's partitions are complete although blocks finish out of order.

    Invariant: a day is released exactly once, when every block up to and including the first one
    that continues with a later day has been written. The source lists each day's rows together;
    a day that turns up again after its release is an error, not a silent loss.
    """

    def __init__(self, release: Callable[[str, set[str]], None]) -> None:
        self._release = release
        self._lock = threading.Lock()
        self._waiting: dict[int, list[tuple[str, set[str]]]] = {}
        self._next_block = 0
        self._open: dict[str, set[str]] = {}
        self._released: set[str] = set()

    def block_done(self, index: int, days: Iterable[tuple[str, set[str]]]) -> None:
        """Block `index` is written; `days` are its days in order with the carriers of each."""
        with self._lock:
            self._waiting[index] = list(days)
            while (ready := self._waiting.pop(self._next_block, None)) is not None:
                self._next_block += 1
                for day, carriers in ready:
                    self._advance(day, carriers)

    def finish(self) -> None:
        """The source has ended: the last day is complete as well."""
        with self._lock:
            if self._waiting:
                raise RuntimeError(f"block {self._next_block} was never written")
            self._close_open_days()

    def _advance(self, day: str, carriers: set[str]) -> None:
        if day in self._released:
            raise ValueError(f"rows of {day} are not together in the source")
        if day not in self._open:
            self._close_open_days()
        self._open.setdefault(day, set()).update(carriers)

    def _close_open_days(self) -> None:
        for day, carriers in self._open.items():
            self._released.add(day)
            self._release(day, carriers)
        self._open.clear()
