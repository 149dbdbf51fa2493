"""An ETL staging job in memory: 336,776 real flights, many threads, one brimfs.

Stage 1 partitions the raw rows by day and carrier under file locks, stage 2 converts finished
partitions to Parquet while stage 1 still runs, stage 3 adds the delays up and compares every total
with a direct computation on the source. The second act is the same job in a tenth of the memory
that its data takes: the rest spills to a disk and comes back, and the totals are the same. In the
last run the quota is too small: it must end in a clean `brimfs.QuotaExceeded` with every counter
back at what it was.

    python examples/python/etl_demo.py [--quota SIZE] [--memory-limit SIZE] [--workers N] [--json]

The exit code is 0 when every total agrees and the last run failed as it must, 1 on any mismatch,
2 when the job could not run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import brimfs
from etl.job import run_job
from etl.report import Printer, human_size, progress_view
from etl.source import SourceMissing, data_directory
from etl.totals import Totals

SMALL_MEMORY_SHARE = 0.1
SMALL_QUOTA_SHARE = 0.4
COUNTERS = ("quota_used", "files", "directories", "nodes", "resident", "open_handles", "views")


def counters(fs: brimfs.FileSystem) -> dict[str, int]:
    stats = fs.stats()
    return {name: getattr(stats, name) for name in COUNTERS}


def remove_everything(fs: brimfs.FileSystem) -> None:
    for name in fs.listdir("/"):
        fs.rmtree(f"/{name}")


def leftovers(before: dict[str, int], after: dict[str, int]) -> list[str]:
    return [
        f"after cleanup {name} is {after[name]}, it was {before[name]}"
        for name in COUNTERS
        if after[name] != before[name]
    ]


def full_run(options: argparse.Namespace, directory: Path, out: Printer) -> dict[str, Any]:
    """The job with the quota of the command line, and its report."""
    with brimfs.FileSystem(quota=options.quota, memory_limit=options.memory_limit) as fs:
        before = counters(fs)
        result = run_job(fs, directory, options.workers, progress_view)
        stats = fs.stats()
        remove_everything(fs)
        result.mismatches += leftovers(before, counters(fs))
        report = {
            "partitions": result.partitions,
            "converted_while_partitioning": result.converted_early,
            "seconds": round(result.seconds, 2),
            "stages": [meter.summary() for meter in result.meters],
            "files": stats.files,
            "quota_used": stats.quota_used,
            "quota_limit": stats.quota_limit,
            "resident_peak": stats.resident_peak,
            "memory_limit": stats.memory_limit,
            "mismatches": result.mismatches,
            "totals": result.totals,
        }
    show_totals(result.totals, out)
    show_stages(report, out)
    return report


def show_totals(totals: dict[str, Totals], out: Printer) -> None:
    for title in ("carrier", "weather"):
        ordered = sorted(totals[title].items(), key=lambda item: -item[1]["flights"])
        out.table(
            f"Delays by {title}",
            [title, "flights", "cancelled", "late", "mean arrival delay", "worst"],
            [
                [
                    group,
                    f"{t['flights']:,}",
                    f"{t['cancelled']:,}",
                    f"{t['late']:,}",
                    f"{t['arrival_delay'] / max(t['arrived'], 1):.1f} min",
                    f"{t['worst_arrival_delay']} min",
                ]
                for group, t in ordered
            ],
        )


def show_stages(report: dict[str, Any], out: Printer) -> None:
    out.table(
        "Stages (2 runs while 1 does)",
        ["stage", "files", "bytes", "seconds", "MB/s", "files/s"],
        [
            [
                stage["stage"],
                f"{stage['files']:,}",
                human_size(stage["bytes"]),
                f"{stage['seconds']:.2f}",
                f"{stage['mb_per_second']:.1f}",
                f"{stage['files_per_second']:,}",
            ]
            for stage in report["stages"]
        ],
    )
    quota = report["quota_limit"]
    out.line(
        f"{report['partitions']:,} partitions, {report['converted_while_partitioning']:,} of them "
        f"converted while stage 1 was still writing; {report['seconds']:.1f} s in all"
    )
    out.line(
        f"peak memory {human_size(report['resident_peak'])} of a limit of "
        f"{human_size(report['memory_limit'])}; quota used {human_size(report['quota_used'])}"
        + (f" of {human_size(quota)}" if quota is not None else "")
        + f" by {report['files']:,} files"
    )
    for line in report["mismatches"]:
        out.line(f"MISMATCH {line}")
    if not report["mismatches"]:
        out.line("every total agrees with the source; after cleanup every counter is back")


def spilling_run(
    options: argparse.Namespace, directory: Path, first: dict[str, Any], out: Printer
) -> dict[str, Any]:
    """The job with memory for a tenth of its data."""
    limit = int(first["quota_used"] * SMALL_MEMORY_SHARE)
    out.heading(f"The same job with {human_size(limit)} of memory, a tenth of its data")
    with brimfs.FileSystem(quota=options.quota, memory_limit=limit) as fs:
        before = counters(fs)
        result = run_job(fs, directory, options.workers, progress_view)
        stats = fs.stats()
        remove_everything(fs)
        mismatches = result.mismatches + leftovers(before, counters(fs))
    if result.totals != first["totals"]:
        mismatches.append("the totals differ from those of the first run")
    if stats.resident_peak > limit:
        mismatches.append(f"{stats.resident_peak} bytes were resident over a limit of {limit}")
    if stats.swaps_out == 0 or stats.swaps_in == 0:
        mismatches.append("nothing was spilled and brought back")
    report = {
        "seconds": round(result.seconds, 2),
        "memory_limit": limit,
        "resident_peak": stats.resident_peak,
        "data": stats.quota_used,
        "spilled": {"units": stats.swaps_out, "bytes": stats.swapped_out},
        "brought_back": {"units": stats.swaps_in, "bytes": stats.swapped_in},
        "read_through": {"reads": stats.reads_through, "bytes": stats.read_through},
        "cold_at_the_end": {"files": stats.cold_files, "bytes": stats.cold_bytes},
        "disk_used": stats.disk_used,
        "stalls": stats.stalls,
        "stalled_seconds": round(stats.stalled, 3),
        "longest_stall_seconds": round(stats.longest_stall, 4),
        "mismatches": mismatches,
    }
    show_spilling(report, first, out)
    return report


def show_spilling(report: dict[str, Any], first: dict[str, Any], out: Printer) -> None:
    moved = (
        ("spilled to the disk", report["spilled"]["units"], report["spilled"]["bytes"]),
        ("brought back", report["brought_back"]["units"], report["brought_back"]["bytes"]),
        ("read from the disk in passing", *report["read_through"].values()),
        ("cold at the end", *report["cold_at_the_end"].values()),
    )
    out.table(
        "What moved between memory and disk",
        ["", "files or parts", "bytes"],
        [[what, f"{units:,}", human_size(size)] for what, units, size in moved],
    )
    out.line(
        f"{report['seconds']:.1f} s in all, {first['seconds']:.1f} s with memory for everything; "
        f"peak memory {human_size(report['resident_peak'])} "
        f"of {human_size(report['memory_limit'])} for {human_size(report['data'])} of data; "
        f"{human_size(report['disk_used'])} on the disk"
    )
    out.line(
        f"{report['stalls']:,} calls waited for memory, {report['stalled_seconds']:.2f} s together "
        f"over all threads, the longest {report['longest_stall_seconds'] * 1e3:.0f} ms"
    )
    for line in report["mismatches"]:
        out.line(f"MISMATCH {line}")
    if not report["mismatches"]:
        out.line("every total is that of the first run; after cleanup every counter is back")


def small_run(
    options: argparse.Namespace, directory: Path, needed: int, out: Printer
) -> dict[str, Any]:
    """The job with a quota that cannot be enough; it must fail cleanly."""
    quota = int(needed * SMALL_QUOTA_SHARE)
    out.heading(f"Last run with a quota of {human_size(quota)}, which is too small")
    mismatches: list[str] = []
    error: brimfs.QuotaExceeded | None = None
    with brimfs.FileSystem(quota=quota, memory_limit=options.memory_limit) as fs:
        before = counters(fs)
        try:
            run_job(fs, directory, options.workers, progress_view)
            mismatches.append("the job finished although its quota was too small")
        except brimfs.QuotaExceeded as raised:
            error = raised
        used = fs.stats().quota_used
        if used > quota:
            mismatches.append(f"{used} bytes are stored over a quota of {quota}")
        remove_everything(fs)
        mismatches += leftovers(before, counters(fs))
    if error is not None:
        out.line(f"ended in {type(error).__name__} (errno {error.errno}): {error}")
        out.line(f"used {human_size(used)} of {human_size(quota)} when it ended")
    for line in mismatches:
        out.line(f"MISMATCH {line}")
    if not mismatches:
        out.line("after cleanup every counter is back at what it was")
    return {
        "quota": quota,
        "error": None if error is None else str(error),
        "errno": None if error is None else error.errno,
        "quota_used_at_error": used,
        "mismatches": mismatches,
    }


def parse_size(text: str) -> int:
    """Bytes from `1048576`, `512KiB`, `64MiB` or `2GiB`."""
    for suffix, factor in (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1), ("", 1)):
        if text.endswith(suffix):
            try:
                size = int(float(text.removesuffix(suffix)) * factor)
            except (ValueError, OverflowError):
                break
            if size > 0:
                return size
            break
    raise argparse.ArgumentTypeError(f"not a size: {text!r} (for example 512MiB)")


def parse_workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"not a number of workers from 1 to 256: {text!r}")
    return int(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Stages real flight data in memory with brimfs.")
    parser.add_argument("--quota", type=parse_size, default=parse_size("256MiB"), metavar="SIZE")
    parser.add_argument(
        "--memory-limit", type=parse_size, default=parse_size("512MiB"), metavar="SIZE"
    )
    parser.add_argument("--workers", type=parse_workers, default=8, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    out = Printer(silent=options.json)
    try:
        directory = data_directory()
        out.heading("Staging 336,776 flights in memory")
        first = full_run(options, directory, out)
        spilling = spilling_run(options, directory, first, out)
        small = small_run(options, directory, first["quota_used"], out)
    except (SourceMissing, brimfs.QuotaExceeded, brimfs.MemoryLimitExceeded) as error:
        print(f"etl_demo: {error}", file=sys.stderr)
        return 2
    if options.json:
        runs = {"run": first, "spilling_run": spilling, "small_quota_run": small}
        print(json.dumps(runs, indent=2))
    return 1 if any(run["mismatches"] for run in (first, spilling, small)) else 0


if __name__ == "__main__":
    sys.exit(main())
