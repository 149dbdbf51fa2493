"""What the program that is killed writes, and what there is to be of it."""

from __future__ import annotations

import random
from pathlib import Path

import brimfs
from cold import content

SIZES = [0, 1, 20, 100, 5000, 40_000, 66_000, 300_000, 1_100_000]


def written(number: int) -> int:
    """How many files are written before the next sync."""
    return random.Random(-number).choice([1, 1, 2, 5, 30])


def size(number: int) -> int:
    weights = [2, 2, 4, 8, 8, 4, 2, 1, 1]
    return random.Random(number).choices(SIZES, weights)[0]


def path(number: int) -> str:
    return f"/{number % 3}/{number}"


def put(fs: brimfs.FileSystem, number: int) -> None:
    """Writes a file, always the same way for its number."""
    way = number % 4
    if number < 3:
        fs.mkdir(f"/{number}", exist_ok=True)
    data = content(number, size(number))
    if way == 0:
        # Built beside, and put in place as a whole.
        fs.write_bytes("/temporary", data)
        fs.rename("/temporary", path(number))
    elif way == 1:
        fs.write_bytes(path(number), bytearray(data))
    else:
        fs.write_bytes(path(number), data)


def check(fs: brimfs.FileSystem, reproduce: str) -> int:
    """How many files there are: exactly the first ones, every one of them whole."""
    there = {name for top in fs.listdir("/") if top.isdigit() for name in fs.listdir(f"/{top}")}
    count = len(there)
    assert there == {str(number) for number in range(count)}, reproduce
    for number in range(count):
        assert fs.read_bytes(path(number)) == content(number, size(number)), (number, reproduce)
    rest = {name for name in fs.listdir("/") if not name.isdigit()}
    assert rest <= {"temporary"}, reproduce
    if rest:
        assert count % 4 == 0, reproduce
        assert fs.read_bytes("/temporary") == content(count, size(count)), reproduce
    return count


def check_host(place: Path, reproduce: str) -> int:
    """How many files of the program the host has: each is whole, whatever became of the others."""
    count = 0
    for top in place.glob("[0-9]*"):
        for file in top.iterdir():
            number = int(file.name)
            assert file.read_bytes() == content(number, size(number)), (number, reproduce)
            count += 1
    return count
