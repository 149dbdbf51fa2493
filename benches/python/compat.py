"""The facades of `brimfs.compat` against the packages whose interfaces they offer.

    python benches/python/compat.py [--filter TEXT] [--rounds N] [--quick] [--json FILE]

Needs `dmemfs`, which requirements/bench.txt pins. `memfs` is on no index: where it is missing,
its rows show the facade alone. Figures are medians of interleaved rounds, wall times.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1 << 20
Workload = Callable[[Any, bool], float]
"""Does a row's work with a package, quickly or in full, and returns the seconds that it took."""


def small_files(package: Any, quick: bool) -> float:
    fs = package.MemoryFileSystem()
    data, count = b"x" * 4096, 100 if quick else 300
    started = time.perf_counter()
    fs.mkdir("/d")
    for number in range(count):
        with fs.open(f"/d/{number}", "wb") as file:
            file.write(data)
    for number in range(count):
        with fs.open(f"/d/{number}", "rb") as file:
            file.read()
    return time.perf_counter() - started


def stream(package: Any, quick: bool, size: int = 16 * MIB, piece: int = 64 * 1024) -> float:
    fs = package.MemoryFileSystem(4 * size)
    data, count = bytes(piece), size // piece // (8 if quick else 1)
    started = time.perf_counter()
    with fs.open("/f", "wb") as file:
        for _ in range(count):
            file.write(data)
    with fs.open("/f", "rb") as file:
        while file.read(piece):
            pass
    return time.perf_counter() - started


def large_stream(package: Any, quick: bool) -> float:
    return stream(package, quick, 512 * MIB, MIB)


def random_access(package: Any, quick: bool) -> float:
    size = 16 * MIB
    fs = package.MemoryFileSystem(4 * size, default_storage="random_access")
    with fs.open("/f", "wb") as file:
        file.write(bytes(size))
    places = random.Random(1).sample(range(size // 4096), 500 if quick else 4000)
    block = b"y" * 4096
    started = time.perf_counter()
    with fs.open("/f", "r+b") as file:
        for place in places:
            file.seek(place * 4096)
            file.write(block)
        for place in places:
            file.seek(place * 4096)
            file.read(4096)
    return time.perf_counter() - started


def many_files(package: Any, quick: bool) -> float:
    fs = package.MemoryFileSystem()
    count = 1000 if quick else 10_000
    started = time.perf_counter()
    for number in range(count):
        with fs.open(f"/{number}", "wb") as file:
            file.write(b"x" * 100)
    fs.listdir("/")
    fs.stats()
    for number in range(count):
        fs.remove(f"/{number}")
    return time.perf_counter() - started


def deep_tree(package: Any, quick: bool) -> float:
    fs = package.MemoryFileSystem()
    depth = 50
    path = "".join(f"/d{level}" for level in range(depth))
    started = time.perf_counter()
    fs.mkdir(path)
    for number in range(20 if quick else 200):
        with fs.open(f"{path}/{number}", "wb") as file:
            file.write(b"x")
        fs.exists(f"{path}/{number}")
        fs.stat(f"{path}/{number}")
    sum(1 for _ in fs.walk("/"))
    return time.perf_counter() - started


def text_lines(package: Any, quick: bool) -> float:
    fs = package.MemoryFileSystem()
    count = 500 if quick else 5000
    with fs.open("/t", "wb") as file:
        file.write(b"".join(b"x" * 79 + b"\n" for _ in range(count)))
    started = time.perf_counter()
    with fs.open("/t", "rb") as file:
        assert sum(1 for _ in package.MFSTextHandle(file)) == count
    return time.perf_counter() - started


def async_pairs(package: Any, quick: bool) -> float:
    async def program() -> float:
        fs = package.AsyncMemoryFileSystem()
        started = time.perf_counter()
        for number in range(50 if quick else 500):
            async with await fs.open(f"/{number % 50}", "wb") as file:
                await file.write(b"x" * 100)
            async with await fs.open(f"/{number % 50}", "rb") as file:
                await file.read()
        return time.perf_counter() - started

    return asyncio.run(program())


def memfs_writes(package: Any, quick: bool) -> float:
    """Writes, reads back, and fails on a read that is wrong. The original may well fail."""
    directory = tempfile.mkdtemp()
    fs = package.MemFileSystem(256 * MIB, persist_path=f"{directory}/p")
    count = 400 if quick else 4000
    try:
        started = time.perf_counter()
        for number in range(count):
            fs.write(f"/d{number % 10}/{number}", b"%d" % number * 256)
        elapsed = time.perf_counter() - started
        wrong = sum(fs.read(f"/d{n % 10}/{n}") != b"%d" % n * 256 for n in range(count))
        if wrong:
            print(f"memfs_writes: {wrong} wrong reads", file=sys.stderr)
        return elapsed
    finally:
        fs.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


ROWS: dict[str, tuple[str, float, Workload]] = {
    # id: the package, how many times faster the facade has to be, the work
    "small_files": ("dmemfs", 5, small_files),
    "stream": ("dmemfs", 1, stream),
    "random_access": ("dmemfs", 1, random_access),
    "large_stream": ("dmemfs", 1, large_stream),
    "many_files": ("dmemfs", 5, many_files),
    "deep_tree": ("dmemfs", 5, deep_tree),
    "text_lines": ("dmemfs", 100, text_lines),
    "async_pairs": ("dmemfs", 50, async_pairs),
    "memfs_writes": ("memfs", 50, memfs_writes),
}


def original(name: str) -> Any | None:
    try:
        package = importlib.import_module(name)
    except ImportError:
        return None
    # An unrelated package on the index has the same name.
    return (
        package if hasattr(package, "MemFileSystem" if name == "memfs" else "__version__") else None
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures the facades against the originals.")
    parser.add_argument("--filter", default="", help="only rows whose id contains this")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds per row")
    parser.add_argument("--quick", action="store_true", help="a fraction of the work")
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    options = parser.parse_args()
    document = {}
    print("| row | brimfs.compat | original | times faster | asked |")
    print("|---|---|---|---|---|")
    for row, (name, asked, work) in ROWS.items():
        if options.filter not in row:
            continue
        packages = {"facade": importlib.import_module(f"brimfs.compat.{name}")}
        if (peer := original(name)) is not None:
            packages["original"] = peer
        samples: dict[str, list[float]] = {kind: [] for kind in packages}
        for turn in range(options.rounds + 1):
            for kind, package in packages.items():
                seconds = work(package, options.quick)
                if turn:
                    samples[kind].append(seconds)
        document[row] = samples
        own = statistics.median(samples["facade"]) * 1000
        if "original" in samples:
            other = statistics.median(samples["original"]) * 1000
            print(f"| {row} | {own:.2f} ms | {other:.2f} ms | {other / own:.1f} | {asked:g} |")
        else:
            print(f"| {row} | {own:.2f} ms | – | – | {asked:g} |")
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
