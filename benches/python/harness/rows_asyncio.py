"""Rows of `brimfs.aio`: one task, one call after the other, wall times."""

from __future__ import annotations

import asyncio

from .measure import TIME, Round, Scale, Stopwatch, times
from .peers import Candidate
from .row import Row
from .rows_small import BLOCK

FILES = 50


def rows() -> list[Row]:
    return [
        Row("asyncio_pairs", "asyncio: `open`, `write`, `close`, `open`, `read`, `close`, 4 KiB",
            TIME, times(20), _pairs, wall=True),
    ]  # fmt: skip


def _pairs(peer: Candidate, scale: Scale) -> Round | None:
    write, read = peer.write_async, peer.read_async
    if write is None or read is None:
        return None
    paths = [peer.path(f"/file{number:06}") for number in range(FILES)]
    content = bytes(BLOCK)
    count = scale.count(5000, 500)

    async def run(watch: Stopwatch) -> None:
        with watch.measure():
            for number in range(count):
                path = paths[number % FILES]
                await write(path, content)
                assert len(await read(path)) == BLOCK

    def round_(watch: Stopwatch) -> int:
        asyncio.run(run(watch))
        return count

    return round_
