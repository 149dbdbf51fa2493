"""Rows of `brimcache::` against fsspec's `filecache::`: hits, in front of one local directory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .measure import TIME, Round, Scale, times
from .peers import Candidate
from .row import Row
from .rows_fsspec import in_turn
from .rows_small import BLOCK, SOME_FILES, call_each

MIB = 1 << 20


def rows() -> list[Row]:
    small, large = "4 KiB of one of 1,000 files", "1 MiB of one of 20 files"
    return [
        _row("cache_open_read", f"`open` + `read` + `close`, {small}", _open_read),
        _row("cache_open_read_asking", f"the same, the remote is asked, {small}", _open_read,
             asks=True),
        _row("cache_open_read_large", f"`open` + `read` + `close`, {large}", _open_read, size=MIB),
        _row("cache_cat", f"`cat_file`, {small}", lambda fs: fs.cat_file),
        _row("cache_range", "`cat_file` of 100 bytes in a file of 1 MiB", _range, size=MIB),
    ]  # fmt: skip


def _row(
    row_id: str,
    title: str,
    call: Callable[[Any], Callable[[str], Any]],
    size: int = BLOCK,
    asks: bool = False,
) -> Row:
    def prepare(peer: Candidate, scale: Scale) -> Round | None:
        if peer.cache_of_local_files is None:
            return None
        # Goes when nobody has the round any more.
        directory = tempfile.TemporaryDirectory(prefix="brimfs-bench")
        remote = Path(directory.name) / "remote"
        remote.mkdir()
        filesystem = peer.cache_of_local_files(directory.name, asks)
        kept = []
        for number in range(SOME_FILES if size == BLOCK else 20):
            path, content = remote / f"file{number:06}", number.to_bytes(2, "big") * (size // 2)
            path.write_bytes(content)
            kept.append(str(path))
            if filesystem.cat_file(str(path)) != content:
                raise AssertionError(f"{peer.name} returns something else than the remote has")
        paths = in_turn(kept, scale.count(5000, 500) if size == BLOCK else scale.count(1000, 100))
        bound = call(filesystem)

        def run(watch: Any) -> int:
            assert directory is not None
            return call_each(watch, bound, paths)

        return run

    return Row(row_id, f"cache: {title}", TIME, times(1), prepare)


def _open_read(filesystem: Any) -> Callable[[str], Any]:
    open_ = filesystem.open

    def call(path: str) -> None:
        with open_(path, "rb") as file:
            file.read()

    return call


def _range(filesystem: Any) -> Callable[[str], Any]:
    cat_file = filesystem.cat_file
    return lambda path: cat_file(path, 1000, 1100)
