"""The three stages: partition the raw rows, convert partitions to Parquet, read everything back.

Everything between the raw files and the totals lives in brimfs; the host is not touched here.
"""

from __future__ import annotations

import csv
import io
import queue
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from .crew import Crew, DayTracker, Meter
from .source import (
    ARCHIVE,
    ARCHIVE_MEMBER,
    CARRIER,
    DAY,
    FLIGHT_COLUMNS,
    HEADER,
    MONTH,
    NULL,
    RAW_FILES,
)

if TYPE_CHECKING:
    from brimfs import FileSystem

BLOCK_SIZE_BYTES = 32 * 1024
COPY_SIZE_BYTES = 1024 * 1024
ARROW_TYPES = {"int": pa.int64(), "text": pa.string()}
POLARS_TYPES = {"int": pl.Int64(), "text": pl.String()}
ARROW_CONVERT = pa_csv.ConvertOptions(
    column_types={name: ARROW_TYPES[kind] for name, kind in FLIGHT_COLUMNS.items()},
    null_values=[NULL],
    strings_can_be_null=True,
)
ARROW_READ = pa_csv.ReadOptions(use_threads=False)
POLARS_SCHEMA = {name: POLARS_TYPES[kind] for name, kind in FLIGHT_COLUMNS.items()}

Partition = tuple[str, str]
"""A day (`2013-01-31`) and a carrier (`UA`)."""


def csv_path(partition: Partition) -> str:
    return f"/stage/{partition[0]}/{partition[1]}.csv"


def parquet_path(partition: Partition) -> str:
    return f"/parquet/{partition[0]}/{partition[1]}.parquet"


def place_raw_files(fs: FileSystem, directory: Path, meter: Meter) -> None:
    """Copies the raw files, the zip archive as it is, from the host into brimfs."""
    meter.begin()
    fs.mkdir("/raw")
    for name in RAW_FILES:
        with open(directory / name, "rb") as host, fs.open(f"/raw/{name}", "wb") as staged:
            while piece := host.read(COPY_SIZE_BYTES):
                staged.write(piece)
                meter.add(size=len(piece))
        meter.add(files=1)


class RawBlocks:
    """The flights of the zipped archive in numbered blocks of whole lines, for any thread."""

    def __init__(self, fs: FileSystem) -> None:
        self._lock = threading.Lock()
        self._index = 0
        self._handle = fs.open(f"/raw/{ARCHIVE}", "rb")
        try:
            self._archive = zipfile.ZipFile(self._handle)
            self.size = self._archive.getinfo(ARCHIVE_MEMBER).file_size
            self._member = self._archive.open(ARCHIVE_MEMBER)
            header = self._member.readline()
            if header != HEADER:
                raise ValueError(f"{ARCHIVE_MEMBER} has unexpected columns: {header!r}")
        except BaseException:
            self._handle.close()
            raise

    def next_block(self) -> tuple[int, bytes] | None:
        with self._lock:
            block = self._member.read(BLOCK_SIZE_BYTES) + self._member.readline()
            if not block:
                return None
            self._index += 1
            return self._index - 1, block

    def close(self) -> None:
        self._member.close()
        self._archive.close()
        self._handle.close()


def split_block(block: bytes) -> dict[str, dict[str, list[bytes]]]:
    """The lines of a block by day and carrier, days in the order of the source."""
    days: dict[str, dict[str, list[bytes]]] = {}
    if b'"' in block:
        raise ValueError("the source has quoted fields, which cannot be split at commas")
    for line in block.splitlines(keepends=True):
        fields = line.split(b",", CARRIER + 1)
        day = f"{int(fields[0]):04}-{int(fields[MONTH]):02}-{int(fields[DAY]):02}"
        carriers = days.setdefault(day, defaultdict(list))
        carriers[fields[CARRIER].decode()].append(line)
    return days


class Partitioner:
    """Stage 1: many threads append the rows of their blocks to the partitions they belong to."""

    def __init__(self, fs: FileSystem, crew: Crew, meter: Meter, workers: int) -> None:
        self.ready: queue.SimpleQueue[Partition | None] = queue.SimpleQueue()
        self._fs = fs
        self._crew = crew
        self._meter = meter
        self._tracker = DayTracker(self._release)
        self._blocks = RawBlocks(fs)
        self.size = self._blocks.size
        self._lock = threading.Lock()
        self._working = workers
        self.partitions = 0
        self.released_all = False

    def work(self) -> None:
        """One worker's share; the last one to end tells the next stage that nothing follows."""
        finished = False
        try:
            self._meter.begin()
            while (numbered := self._blocks.next_block()) is not None:
                self._crew.check()
                index, block = numbered
                days = split_block(block)
                for day, carriers in days.items():
                    self._fs.mkdir(f"/stage/{day}", parents=True, exist_ok=True)
                    for carrier, lines in carriers.items():
                        self._append((day, carrier), b"".join(lines))
                self._tracker.block_done(index, ((day, set(c)) for day, c in days.items()))
            finished = True
        finally:
            self._leave(finished)

    def _append(self, partition: Partition, rows: bytes) -> None:
        # Opening for append takes the file's exclusive lock, so that of several workers on one
        # partition exactly one finds it empty and writes the header.
        with self._fs.open(csv_path(partition), "ab") as file:
            first = file.tell() == 0
            file.write(HEADER + rows if first else rows)
        self._meter.add(files=first, size=len(rows) + (len(HEADER) if first else 0))

    def _release(self, day: str, carriers: set[str]) -> None:
        self.partitions += len(carriers)
        for carrier in sorted(carriers):
            self.ready.put((day, carrier))

    def _leave(self, finished: bool) -> None:
        with self._lock:
            self._working -= 1
            last = self._working == 0
        if last:
            try:
                self._blocks.close()
                if finished:
                    self._tracker.finish()
            finally:
                # Another worker may have failed, and the next stage waits for this all the same.
                self.released_all = True
                self.ready.put(None)


def arrow_convert(fs: FileSystem, source: str, target: str) -> None:
    with fs.open(source, "rb") as file:
        table = pa_csv.read_csv(file, read_options=ARROW_READ, convert_options=ARROW_CONVERT)
    with fs.open(target, "wb") as file:
        pq.write_table(table, file)


def polars_convert(fs: FileSystem, source: str, target: str) -> None:
    with fs.open(source, "rb") as file:
        frame = pl.read_csv(file, schema=POLARS_SCHEMA, null_values=NULL)
    # Into memory first: polars hides an error of the file it writes to in one of its own, and a
    # full quota must reach the caller as what it is. The finished bytes are adopted, not copied.
    encoded = io.BytesIO()
    frame.write_parquet(encoded)
    fs.write_bytes(target, encoded.getvalue())


class Converter:
    """Stage 2: threads that turn finished partitions into Parquet while stage 1 still writes."""

    def __init__(self, fs: FileSystem, crew: Crew, meter: Meter, partitioner: Partitioner) -> None:
        self._fs = fs
        self._crew = crew
        self._meter = meter
        self._from = partitioner
        self._lock = threading.Lock()
        self.converted: list[Partition] = []
        self.while_partitioning = 0

    def work(self, convert: Callable[[FileSystem, str, str], None]) -> None:
        while (partition := self._from.ready.get()) is not None:
            self._crew.check()
            self._meter.begin()
            early = not self._from.released_all
            size = self._convert(partition, convert)
            with self._lock:
                self.converted.append(partition)
                self.while_partitioning += early
            self._meter.add(files=1, size=size)
        self._from.ready.put(None)

    def _convert(
        self, partition: Partition, convert: Callable[[FileSystem, str, str], None]
    ) -> int:
        source, target = csv_path(partition), parquet_path(partition)
        self._fs.mkdir(f"/parquet/{partition[0]}", parents=True, exist_ok=True)
        # Readers never see half a Parquet file: it appears under its name when it is whole.
        unfinished = target + ".part"
        convert(self._fs, source, unfinished)
        self._fs.rename(unfinished, target)
        return self._fs.stat(source).st_size + self._fs.stat(target).st_size


class Reader:
    """Stage 3, its reading half: Parquet into one frame, CSV row by row with the csv module."""

    def __init__(
        self, fs: FileSystem, crew: Crew, meter: Meter, partitions: list[Partition]
    ) -> None:
        self._fs = fs
        self._crew = crew
        self._meter = meter
        self._pending: queue.SimpleQueue[Partition] = queue.SimpleQueue()
        for partition in sorted(partitions):
            self._pending.put(partition)
        self._lock = threading.Lock()
        self._frames: list[pl.DataFrame] = []

    def work(self, add_csv: Callable[[str, Iterator[list[str]]], None]) -> None:
        self._meter.begin()
        while True:
            self._crew.check()
            try:
                partition = self._pending.get_nowait()
            except queue.Empty:
                return
            content = self._fs.read_bytes(parquet_path(partition))
            frame = pl.read_parquet(io.BytesIO(content))
            with self._lock:
                self._frames.append(frame)
            with self._fs.open(csv_path(partition), "r", encoding="utf-8", newline="") as text:
                rows = csv.reader(text)
                if next(rows) != list(FLIGHT_COLUMNS):
                    raise ValueError(f"{csv_path(partition)} does not start with its header")
                add_csv(partition[1], rows)
            csv_size = self._fs.stat(csv_path(partition)).st_size
            self._meter.add(files=2, size=len(content) + csv_size)

    def flights(self) -> pl.DataFrame:
        return pl.concat(self._frames)
