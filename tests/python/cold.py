"""What tests of the tier share."""

from __future__ import annotations

import random
import time

import brimfs

KIB = 1 << 10
MIB = 1 << 20


def content(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


def audit(fs: brimfs.FileSystem) -> None:
    """The counters agree with a walk over everything, once nothing moves in the background."""
    patience = time.monotonic() + 10
    while True:
        try:
            return fs._audit()
        except AssertionError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.05)


def fill(fs: brimfs.FileSystem, count: int, size: int) -> list[str]:
    """So many files of so many bytes, named by their number."""
    paths = [f"/f{number}" for number in range(count)]
    for number, path in enumerate(paths):
        fs.write_bytes(path, content(number, size))
    return paths


def is_cold(fs: brimfs.FileSystem, path: str) -> bool:
    return fs.explain(path).cold_units > 0
