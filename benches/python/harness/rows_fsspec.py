"""Rows of `brim://` against fsspec's own `memory://`, both through fsspec's interface."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from .measure import TIME, Reach, Round, Scale, times
from .peers import Candidate
from .row import Row
from .rows_small import BLOCK, SOME_FILES, call_each

Prepare = Callable[[Any, list[str], Scale], Round]


def rows() -> list[Row]:
    read = "4 KiB of one of 1,000 files"
    return [
        _row("fsspec_cat", f"`cat_file`, {read}", times(3), _cat),
        _row("fsspec_open_read", f"`open` + `read` + `close`, {read}", times(3), _open_read),
        _row("fsspec_range", "`cat_file` of 100 bytes in a file of 4 KiB", times(1), _range),
        _row("fsspec_pipe", "`pipe_file`, 4 KiB over one of 1,000 files", times(3), _pipe),
        _row("fsspec_open_write", "`open` + `write` + `close`, 4 KiB over one of 1,000 files",
             times(1), _open_write),
        _row("fsspec_info", "`info`, one of 1,000 files", times(3), _info),
        _row("fsspec_exists", "`exists`, one of 1,000 files", times(3), _exists),
        _row("fsspec_ls", "`ls` of 1,000 files with details", times(1), _ls),
        _row("fsspec_cp", "`cp_file`, 4 KiB over itself elsewhere", times(1), _cp),
    ]  # fmt: skip


def _row(row_id: str, title: str, reach: Reach, prepare: Prepare) -> Row:
    def with_files(peer: Candidate, scale: Scale) -> Round | None:
        if peer.fsspec is None:
            return None
        filesystem, root = peer.fsspec
        kept = [f"{root}/d/file{number:06}" for number in range(SOME_FILES)]
        for number, path in enumerate(kept):
            content = number.to_bytes(2, "big") * (BLOCK // 2)
            filesystem.pipe_file(path, content)
            if filesystem.cat_file(path) != content:
                raise AssertionError(f"{peer.name} returns something else than was written")
        return prepare(filesystem, kept, scale)

    return Row(row_id, f"fsspec: {title}", TIME, reach, with_files)


def in_turn(kept: list[str], count: int) -> list[str]:
    draw = random.Random(5).randrange
    return [kept[draw(len(kept))] for _ in range(count)]


def _calls(call: Callable[[str], Any], kept: list[str], count: int) -> Round:
    paths = in_turn(kept, count)
    return lambda watch: call_each(watch, call, paths)


def _cat(filesystem: Any, kept: list[str], scale: Scale) -> Round:
    return _calls(filesystem.cat_file, kept, scale.count(50_000, 5000))


def _range(filesystem: Any, kept: list[str], scale: Scale) -> Round:
    cat_file = filesystem.cat_file
    return _calls(lambda path: cat_file(path, 1000, 1100), kept, scale.count(50_000, 5000))


def _open_read(filesystem: Any, kept: list[str], scale: Scale) -> Round:
    open_ = filesystem.open

    def call(path: str) -> None:
        with open_(path, "rb") as file:
            file.read()

    return _calls(call, kept, scale.count(20_000, 2000))


def _pipe(filesystem: Any, kept: list[str], scale: Scale) -> Round:
    content, pipe_file = bytes(BLOCK), filesystem.pipe_file
    return _calls(lambda path: pipe_file(path, content), kept, scale.count(20_000, 2000))


def _open_write(filesystem: Any, kept: list[str], scale: Scale) -> Round:
    content, open_ = bytes(BLOCK), filesystem.open

    def call(path: str) -> None:
        with open_(path, "wb") as file:
            file.write(content)

    return _calls(call, kept, scale.count(20_000, 2000))


def _info(filesystem: Any, kept: list[str], scale: Scale) -> Round:
    return _calls(filesystem.info, kept, scale.count(5000, 500))


def _exists(filesystem: Any, kept: list[str], scale: Scale) -> Round:
    return _calls(filesystem.exists, kept, scale.count(5000, 500))


def _ls(filesystem: Any, kept: list[str], scale: Scale) -> Round:
    directory = kept[0].rpartition("/")[0]
    if len(filesystem.ls(directory)) != SOME_FILES:
        raise AssertionError("not all files are listed")
    return lambda watch: call_each(watch, filesystem.ls, [directory] * scale.count(100, 10))


def _cp(filesystem: Any, kept: list[str], scale: Scale) -> Round:
    cp_file = filesystem.cp_file
    return _calls(lambda path: cp_file(path, f"{path}.copy"), kept, scale.count(5000, 500))
