"""The whole job: its stages in order, their threads, and the check against the source.

It draws nothing itself; it tells a progress view how far it is.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from .crew import Crew, Meter
from .source import HEADER
from .stages import (
    Converter,
    Partitioner,
    Reader,
    arrow_convert,
    place_raw_files,
    polars_convert,
)
from .totals import CsvTotals, Totals, differences, source_totals, staged_totals

if TYPE_CHECKING:
    from brimfs import FileSystem

CONVERTER_THREADS = 2
READER_THREADS = 4
REFRESH_SECONDS = 0.1


class ProgressView(Protocol):
    """A set of named bars; `update` may be called from one thread at a time."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def update(self, name: str, done: int, total: int | None) -> None: ...


NewView = Callable[[], ProgressView]


@dataclass
class JobResult:
    """What one run of the job left behind and found out."""

    meters: list[Meter]
    partitions: int
    converted_early: int
    seconds: float
    totals: dict[str, Totals]
    mismatches: list[str]


def run_job(fs: FileSystem, directory: Path, workers: int, new_view: NewView) -> JobResult:
    """All stages on `fs`; raises what the first failing thread raised."""
    started = time.perf_counter()
    place = Meter("0 place raw files")
    partition = Meter("1 partition to CSV")
    convert = Meter("2 convert to Parquet")
    read = Meter("3 read back and add up")
    place_raw_files(fs, directory, place)

    crew = Crew()
    partitioner = Partitioner(fs, crew, partition, workers)
    converter = Converter(fs, crew, convert, partitioner)
    for number in range(workers):
        crew.start(f"partition-{number}", partitioner.work)
    for number in range(CONVERTER_THREADS):
        crew.start(f"arrow-{number}", lambda: converter.work(arrow_convert))
        crew.start(f"polars-{number}", lambda: converter.work(polars_convert))
    with new_view() as view:
        watch_staging(crew, partition, convert, partitioner, view)
    crew.join()

    readers = Crew()
    reader = Reader(fs, readers, read, converter.converted)
    csv_totals = CsvTotals()
    for number in range(READER_THREADS):
        readers.start(f"read-{number}", lambda: reader.work(csv_totals.add))
    with new_view() as view:
        watch_reading(readers, read, 2 * partitioner.partitions, view)
    readers.join()

    totals = staged_totals(fs, reader.flights())
    mismatches = check(fs, directory, totals, csv_totals, partition, partitioner)
    return JobResult(
        [place, partition, convert, read],
        partitioner.partitions,
        converter.while_partitioning,
        time.perf_counter() - started,
        totals,
        mismatches,
    )


def watch_staging(
    crew: Crew, rows: Meter, parquet: Meter, partitioner: Partitioner, view: ProgressView
) -> None:
    """Shows the progress of stages 1 and 2 until their threads end."""
    alive = True
    while alive:
        time.sleep(REFRESH_SECONDS)
        alive = crew.alive()
        headers = rows.files * len(HEADER)
        view.update("partitioned (KiB)", (rows.bytes - headers) >> 10, partitioner.size >> 10)
        known = partitioner.partitions if partitioner.released_all else None
        view.update("Parquet files", parquet.files, known)


def watch_reading(crew: Crew, read: Meter, files: int, view: ProgressView) -> None:
    alive = True
    while alive:
        time.sleep(REFRESH_SECONDS)
        alive = crew.alive()
        view.update("files read back", read.files, files)


def check(
    fs: FileSystem,
    directory: Path,
    totals: dict[str, Totals],
    csv_totals: CsvTotals,
    rows: Meter,
    partitioner: Partitioner,
) -> list[str]:
    """Every difference between what brimfs holds and what the source says."""
    expected = source_totals(directory)
    with fs.open("/raw/airlines.csv", "r", encoding="utf-8", newline="") as text:
        names = {row["carrier"]: row["name"] for row in csv.DictReader(text)}
    lines: list[str] = []
    for title, table in expected.items():
        lines += differences(f"Parquet by {title}", totals[title], table)
    lines += differences("CSV by carrier", csv_totals.by_name(names), expected["carrier"])
    # Every byte of the source went to exactly one partition, and each partition has one header.
    staged = rows.bytes - partitioner.partitions * len(HEADER)
    if staged != partitioner.size - len(HEADER):
        lines.append(f"staged {staged} bytes of rows, the source has {partitioner.size}")
    if rows.files != partitioner.partitions:
        lines.append(f"{rows.files} headers for {partitioner.partitions} partitions")
    return lines
