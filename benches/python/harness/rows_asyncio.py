"""Rows of `brimfs.aio` against aiofiles on tmpfs: one task after the other, wall times."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from .measure import TIME, Round, Scale, Stopwatch, times
from .peers import Candidate
from .row import Row
from .rows_small import BLOCK, SOME_FILES

Step = Callable[[str], Awaitable[None]]


def rows() -> list[Row]:
    return [
        Row("asyncio_read", "asyncio: `open` + `read` + `close`, 4 KiB of one of 1,000 files",
            TIME, times(10), lambda peer, scale: _each(peer, scale, _reading(peer)), wall=True),
        Row("asyncio_write", "asyncio: `open` + `write` + `close`, 4 KiB over one of 1,000 files",
            TIME, times(10), lambda peer, scale: _each(peer, scale, _writing(peer)), wall=True),
    ]  # fmt: skip


def _reading(peer: Candidate) -> Step | None:
    if (open_ := peer.open_async) is None:
        return None

    async def step(path: str) -> None:
        async with open_(path, "rb") as file:
            await file.read()

    return step


def _writing(peer: Candidate) -> Step | None:
    if (open_ := peer.open_async) is None:
        return None
    content = bytes(BLOCK)

    async def step(path: str) -> None:
        async with open_(path, "wb") as file:
            await file.write(content)

    return step


def _each(peer: Candidate, scale: Scale, step: Step | None) -> Round | None:
    if step is None:
        return None
    peer.mkdir(peer.path("/d"))
    kept = [peer.path(f"/d/file{number:06}") for number in range(SOME_FILES)]
    for path in kept:
        peer.write_bytes(path, bytes(BLOCK))
    draw = random.Random(5).randrange
    paths = [kept[draw(SOME_FILES)] for _ in range(scale.count(5000, 500))]

    async def run(watch: Stopwatch) -> None:
        with watch.measure():
            for path in paths:
                await step(path)

    def round_(watch: Stopwatch) -> int:
        asyncio.run(run(watch))
        return len(paths)

    return round_
