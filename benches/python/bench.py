"""Benchmarks of the brimfs Python package against other in-memory filesystems and tmpfs.

    python benches/python/bench.py [--filter TEXT] [--candidates A,B] [--rounds N] [--quick]
                                   [--json FILE] [--list]

Needs what requirements/bench.txt pins. Figures are medians over interleaved rounds; times are CPU
times of the calling thread (wall times where a row has threads of its own).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from pathlib import Path

from harness import (
    report,
    rows_asyncio,
    rows_cache,
    rows_fsspec,
    rows_large,
    rows_small,
    small_files,
)
from harness.measure import Measured, Round, Scale, run_rounds
from harness.peers import ALL, Buffer, Candidate
from harness.row import Row

CHILD_ROUNDS = 3
PACKAGES = ("brimfs", "D-MemFS", "fs", "fsspec", "pyfakefs", "numpy")


def measure(row: Row, kinds: list[type[Candidate]], rounds: int, scale: Scale) -> Measured:
    """One row with every candidate that can do it."""
    measured = Measured(row.id, row.title, row.unit, row.reach)
    peers: list[Candidate] = []
    prepared: dict[str, Round] = {}
    try:
        for kind in [*kinds, *([Buffer] if row.reference else [])]:
            peers.append(kind())
            if (run := row.prepare(peers[-1], Scale(scale.quick, kind.slowdown))) is not None:
                prepared[kind.name] = run
        run_rounds(measured, prepared, rounds, wall=row.wall)
    finally:
        prepared.clear()
        for peer in peers:
            peer.close()
    return measured


def measure_small_files(
    wanted: str, kinds: list[type[Candidate]], rounds: int, scale: Scale
) -> list[Measured]:
    rows = [row for row in small_files.rows() if wanted in row.id]
    if not rows:
        return []
    for _ in range(rounds):
        for kind in kinds:
            files = small_files.files(Scale(scale.quick, kind.slowdown))
            figures = small_files.in_child(Path(__file__), kind.name, files)
            for row in rows:
                if row.id in figures:
                    row.samples.setdefault(kind.name, []).append(figures[row.id])
    return rows


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures brimfs against its peers.")
    parser.add_argument("--filter", default="", help="only rows whose id contains this")
    parser.add_argument("--candidates", help="only these, separated by commas")
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds per row")
    parser.add_argument("--quick", action="store_true", help="a fraction of the work")
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    parser.add_argument("--list", action="store_true", help="print the ids of the rows")
    parser.add_argument("--small-files-child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    if options.small_files_child:
        name, count = options.small_files_child
        small_files.child(name, int(count))
        return 0
    scale = Scale(options.quick)
    every = [*rows_small.rows(), *rows_large.rows(), *rows_fsspec.rows(), *rows_cache.rows()]
    every += rows_asyncio.rows()
    rows = [row for row in every if options.filter in row.id]
    if options.list:
        print("\n".join([row.id for row in rows] + [row.id for row in small_files.rows()]))
        return 0
    kinds = ALL
    if options.candidates:
        names = options.candidates.split(",")
        if unknown := set(names) - {kind.name for kind in ALL}:
            print(f"bench: no candidate is called {', '.join(sorted(unknown))}", file=sys.stderr)
            return 2
        kinds = [kind for kind in ALL if kind.name in names]
    rounds = max(options.rounds, 1)
    measured = []
    for row in rows:
        print(f"{row.id} …", file=sys.stderr, flush=True)
        measured.append(measure(row, kinds, rounds, scale))
    measured += measure_small_files(options.filter, kinds, min(rounds, CHILD_ROUNDS), scale)
    print(report.markdown(measured, [kind.name for kind in kinds]))
    if options.json:
        options.json.write_text(report.document(measured, versions()) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
