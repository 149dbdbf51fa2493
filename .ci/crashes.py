#!/usr/bin/env python3
"""Adds up what the tests of crashes kept: how many images there were, and how much survived.

Each test runs in a process of its own and keeps its numbers in a file (`brimfs_sim::tally`).

    .ci/crashes.py target/tmp/crashes                    the total of all tests
    .ci/crashes.py target/tmp/crashes --least 200000     fails if there were fewer
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

# Of a hundred images so many at least are of a disk on which something was acknowledged as durable.
AFTER_SYNC_LEAST = 90
# Steps that were not durable are told apart up to so many.
OPEN_MAX = 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--least", type=int, default=0, help="images that there must be")
    options = parser.parse_args()

    totals: Counter[str] = Counter()
    survived: Counter[tuple[int, int]] = Counter()
    files = sorted(path for path in options.directory.glob("*") if path.is_file())
    for path in files:
        for line in path.read_text().splitlines():
            word, *numbers = line.split()
            if word == "survived":
                kept, of, count = map(int, numbers)
                survived[of, kept] += count
            else:
                totals[word] += int(numbers[0])
        print(f"{path.name}: {path.read_text().split()[1]} images")

    images, second = totals["images"], totals["second"]
    share = 100 * totals["after_sync"] / max(images, 1)
    print(f"crashes of {len(files)} tests: {images:,} images, {share:.1f} % of them after an")
    print(f"acknowledged sync, and {second:,} of a second crash while a store was opened")
    print_survivors(survived)
    if images < options.least:
        print(f"there should be {options.least:,}: not all tests ran, or they try too little")
        return 1
    if options.least and share < AFTER_SYNC_LEAST:
        print(f"{AFTER_SYNC_LEAST} % should be after an acknowledged sync")
        return 1
    return 0


def print_survivors(survived: Counter[tuple[int, int]]) -> None:
    """How long the prefixes were that survived, in a line for each number of open steps."""
    print("of the steps that were done and not durable, so many survived:")
    for of in range(OPEN_MAX + 1):
        counts = [survived[of, kept] for kept in range(of + 1)]
        if any(counts):
            print(f"  of {of}: " + ", ".join(f"{kept} {n:,}" for kept, n in enumerate(counts)))
    longer = Counter[str]()
    for (of, kept), count in survived.items():
        if of > OPEN_MAX:
            longer["none" if kept == 0 else "all" if kept == of else "some"] += count
    if longer:
        words = ", ".join(f"{word} {longer[word]:,}" for word in ("none", "some", "all"))
        print(f"  of more than {OPEN_MAX}: {words}")


if __name__ == "__main__":
    sys.exit(main())
