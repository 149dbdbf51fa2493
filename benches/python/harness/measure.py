"""Clocks, samples and the loop of interleaved rounds.

Rounds go A B C A B C …, so that whatever else runs on the machine hits every candidate alike. Times
are CPU times of the calling thread, wall times where a row uses several threads.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

SUBJECT = "brimfs"
REFERENCE = "io.BytesIO"
"""Not a filesystem: measured in the rows of open handles only, where it is what to reach."""

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Scale:
    """How much work each row does; `quick` is for trying things out, not for figures."""

    quick: bool
    slowdown: int = 1
    """How many times fewer repetitions a very slow candidate gets; figures are per operation."""

    def size(self, full: int, quick: int) -> int:
        """A size that the row names: the same for every candidate."""
        return quick if self.quick else full

    def count(self, full: int, quick: int) -> int:
        """How often to repeat."""
        return max((quick if self.quick else full) // self.slowdown, 1)


@dataclass
class Stopwatch:
    """Adds up the measured sections of one round."""

    wall: bool
    elapsed_ns: int = 0

    @contextmanager
    def measure(self) -> Iterator[None]:
        clock = time.perf_counter_ns if self.wall else time.thread_time_ns
        started = clock()
        yield
        self.elapsed_ns += clock() - started


Round = Callable[[Stopwatch], int]
"""Runs one round and returns how many operations the measured sections did."""


@dataclass(frozen=True)
class Unit:
    """How a round's time and its number of operations become the figure in the table."""

    name: str
    value: Callable[[int, int], float]
    show: Callable[[float], str]
    better: Better = "lower"


def _show_time(nanoseconds: float) -> str:
    for limit, divisor, unit, digits in (
        (10e3, 1, "ns", 0),
        (10e6, 1e3, "µs", 1),
        (float("inf"), 1e6, "ms", 1),
    ):
        if nanoseconds < limit:
            return f"{nanoseconds / divisor:,.{digits}f} {unit}"
    raise AssertionError("the last limit is infinite")


TIME = Unit("ns per operation", lambda elapsed, count: elapsed / count, _show_time)
FILES_PER_SECOND = Unit(
    "files per second",
    lambda elapsed, count: count / elapsed * 1e9,
    lambda value: f"{value:,.0f} files/s",
    "higher",
)
BYTES = Unit("bytes per file", lambda _, count: float(count), lambda value: f"{value:,.0f} B")


@dataclass(frozen=True)
class Reach:
    """What brimfs has to reach: times better than the best peer, or a figure of its own."""

    text: str
    times: float | None = None
    at_most: float | None = None


def times(factor: float) -> Reach:
    """At least so many times better than the best peer (below 1: not slower by more than that)."""
    if factor == 1:
        return Reach("ahead", times=1.0)
    text = f"≤ {1 / factor:.1f} times its time" if factor < 1 else f"≥ {factor:g} times"
    return Reach(text, times=factor)


def at_most(value: float, unit: Unit) -> Reach:
    return Reach(f"≤ {unit.show(value)}", at_most=value)


@dataclass
class Measured:
    """Every round's figure of every candidate of one row."""

    id: str
    title: str
    unit: Unit
    reach: Reach
    samples: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        samples = self.samples.get(name)
        return statistics.median(samples) if samples else None

    def best_peer(self) -> tuple[str, float] | None:
        """The peer to beat; where `io.BytesIO` was measured it is the one."""
        names = [name for name in self.samples if name != SUBJECT]
        if REFERENCE in names:
            names = [REFERENCE]
        medians = [(name, value) for name in names if (value := self.median(name)) is not None]
        if not medians:
            return None
        pick = min if self.unit.better == "lower" else max
        return pick(medians, key=lambda item: item[1])

    def ratio(self) -> float | None:
        """How many times better brimfs is than the best peer."""
        own, best = self.median(SUBJECT), self.best_peer()
        if own is None or best is None:
            return None
        return best[1] / own if self.unit.better == "lower" else own / best[1]

    def reached(self) -> bool | None:
        own, ratio = self.median(SUBJECT), self.ratio()
        if own is None:
            return None
        if self.reach.at_most is not None:
            return own <= self.reach.at_most
        if ratio is None or self.reach.times is None:
            return None
        return ratio >= self.reach.times


def run_rounds(measured: Measured, prepared: dict[str, Round], rounds: int, *, wall: bool) -> None:
    """Runs every candidate's round in turn; the first turn warms up and is not counted."""
    for turn in range(rounds + 1):
        for name, run in prepared.items():
            watch = Stopwatch(wall)
            gc.collect()
            gc.disable()
            try:
                count = run(watch)
            finally:
                gc.enable()
            if turn > 0:
                value = measured.unit.value(watch.elapsed_ns, count)
                measured.samples.setdefault(name, []).append(value)
