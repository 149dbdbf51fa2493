"""Rows of single calls: existence, small whole files, names, handles."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from .measure import TIME, Reach, Round, Scale, Stopwatch, times
from .peers import Candidate
from .row import Row

BLOCK = 4096
DEEP = "/a/b/c/d/e/f/g/h/i"
# How many files the calls of a row go to in turn, where its title says nothing else.
SOME_FILES = 1000


def rows() -> list[Row]:
    return [
        *_exists_rows(),
        *_content_rows(),
        *_name_rows(),
        *_handle_rows(),
    ]


def _row(
    row_id: str, title: str, reach: Reach, prepare: Callable[[Candidate, Scale], Round | None]
) -> Row:
    return Row(row_id, title, TIME, reach, prepare)


def call_each(watch: Stopwatch, call: Callable[[str], Any], paths: list[str]) -> int:
    """Measures `call` on every path; the loop itself, about 10 ns a turn, is included."""
    with watch.measure():
        for path in paths:
            call(path)
    return len(paths)


def make_directories(peer: Candidate, directory: str) -> None:
    path = ""
    for name in directory.strip("/").split("/"):
        path = f"{path}/{name}"
        peer.mkdir(peer.path(path))


def fresh_paths(peer: Candidate, directory: str, files: Iterable[int]) -> list[str]:
    """Path strings that nothing has hashed yet."""
    return [peer.path(f"{directory}/file{number:06}") for number in files]


# existence


def _exists_rows() -> list[Row]:
    return [
        _row("exists_repeated", "`exists` at depth 3, repeated path string", times(20),
             lambda peer, scale: _exists(peer, scale, "/a/b", fresh=False)),
        _row("exists_repeated_deep", "`exists` at depth 10, repeated path string", times(20),
             lambda peer, scale: _exists(peer, scale, DEEP, fresh=False)),
        _row("exists_fresh", "`exists` at depth 3, fresh path string", times(8),
             lambda peer, scale: _exists(peer, scale, "/a/b", fresh=True)),
        _row("exists_fresh_deep", "`exists` at depth 10, fresh path string", times(8),
             lambda peer, scale: _exists(peer, scale, DEEP, fresh=True)),
        _row("exists_missing", "`exists` of a missing file, fresh path string", times(1), _missing),
    ]  # fmt: skip


def _exists(peer: Candidate, scale: Scale, directory: str, *, fresh: bool) -> Round:
    make_directories(peer, directory)
    for path in fresh_paths(peer, directory, range(SOME_FILES)):
        peer.write_bytes(path, b"x")
    count = scale.count(20_000, 2000)
    order = [random.Random(3).randrange(SOME_FILES) for _ in range(count)]
    kept = fresh_paths(peer, directory, range(SOME_FILES))
    repeated = [kept[number] for number in order]

    def run(watch: Stopwatch) -> int:
        paths = fresh_paths(peer, directory, order) if fresh else repeated
        if not all(map(peer.exists, kept)):
            raise AssertionError(f"{peer.name} does not find its files")
        return call_each(watch, peer.exists, paths)

    return run


def _missing(peer: Candidate, scale: Scale) -> Round:
    make_directories(peer, "/a/b")

    def run(watch: Stopwatch) -> int:
        paths = fresh_paths(peer, "/a/b", range(scale.count(20_000, 2000)))
        return call_each(watch, peer.exists, paths)

    return run


# small whole files


def _content_rows() -> list[Row]:
    return [
        _row("read_whole", "`read_bytes` 4 KiB written whole (the same object comes back)",
             times(20), lambda peer, scale: _read(peer, scale, whole=True, fresh=False)),
        _row("read_whole_fresh", "`read_bytes` 4 KiB written whole, fresh path string",
             times(8), lambda peer, scale: _read(peer, scale, whole=True, fresh=True)),
        _row("read_otherwise", "`read_bytes` 4 KiB written through a handle", times(8),
             lambda peer, scale: _read(peer, scale, whole=False, fresh=False)),
        _row("write_bytes", "`write_bytes` 4 KiB of `bytes`, overwriting 1,000 files", times(50),
             lambda peer, scale: _write(peer, scale, bytes(BLOCK), new=False)),
        _row("write_bytearray", "`write_bytes` 4 KiB of `bytearray`, overwriting 1,000 files",
             times(20), lambda peer, scale: _write(peer, scale, bytearray(BLOCK), new=False)),
        _row("write_bytes_new", "`write_bytes` 4 KiB of `bytes`, new files", times(1),
             lambda peer, scale: _write(peer, scale, bytes(BLOCK), new=True)),
        _row("write_bytearray_new", "`write_bytes` 4 KiB of `bytearray`, new files", times(1),
             lambda peer, scale: _write(peer, scale, bytearray(BLOCK), new=True)),
    ]  # fmt: skip


def _read(peer: Candidate, scale: Scale, *, whole: bool, fresh: bool) -> Round:
    files = SOME_FILES
    peer.mkdir(peer.path("/d"))
    kept = fresh_paths(peer, "/d", range(files))
    for number, path in enumerate(kept):
        content = number.to_bytes(2, "big") * (BLOCK // 2)
        if whole:
            peer.write_bytes(path, content)
            if peer.name == "brimfs" and peer.read_bytes(path) is not content:
                raise AssertionError("brimfs copied what it was given whole")
        else:
            with peer.open(path, "wb") as file:
                file.write(content[: BLOCK // 2])
                file.write(content[BLOCK // 2 :])
        if peer.read_bytes(path) != content:
            raise AssertionError(f"{peer.name} returns something else than was written")
    order = [random.Random(5).randrange(files) for _ in range(scale.count(10_000, 1000))]
    repeated = [kept[number] for number in order]

    def run(watch: Stopwatch) -> int:
        paths = fresh_paths(peer, "/d", order) if fresh else repeated
        return call_each(watch, peer.read_bytes, paths)

    return run


def _write(peer: Candidate, scale: Scale, content: bytes | bytearray, *, new: bool) -> Round:
    peer.mkdir(peer.path("/d"))
    paths = fresh_paths(peer, "/d", range(scale.count(5000, 1000) if new else SOME_FILES))
    write = peer.write_bytes
    if not new:
        for path in paths:
            write(path, content)
        paths *= scale.count(5, 1)

    def run(watch: Stopwatch) -> int:
        with watch.measure():
            for path in paths:
                write(path, content)
        if new:
            for path in paths:
                peer.remove(path)
        return len(paths)

    return run


# names


def _name_rows() -> list[Row]:
    return [
        _row("create_remove", "create an empty file + remove it, 1,000 names", times(20),
             _create_remove),
        _row("create_remove_handle", "create through a handle + remove", times(1), _create_handle),
        _row("rename", "rename a file", times(8), _rename),
        _row("listdir_warm", "`listdir` of 1,000, warm name cache", times(1),
             lambda peer, scale: _listdir(peer, scale, cold=False)),
        _row("listdir_cold", "`listdir` of 1,000, cold name cache", times(1),
             lambda peer, scale: _listdir(peer, scale, cold=True)),
    ]  # fmt: skip


def _create_remove(peer: Candidate, scale: Scale) -> Round:
    peer.mkdir(peer.path("/d"))
    paths = fresh_paths(peer, "/d", range(SOME_FILES)) * scale.count(5, 1)
    write, remove = peer.write_bytes, peer.remove

    def run(watch: Stopwatch) -> int:
        with watch.measure():
            for path in paths:
                write(path, b"")
                remove(path)
        return len(paths)

    return run


def _create_handle(peer: Candidate, scale: Scale) -> Round:
    peer.mkdir(peer.path("/d"))
    paths = fresh_paths(peer, "/d", range(SOME_FILES)) * scale.count(5, 1)
    open_, remove = peer.open, peer.remove

    def run(watch: Stopwatch) -> int:
        with watch.measure():
            for path in paths:
                open_(path, "wb").close()
                remove(path)
        return len(paths)

    return run


def _rename(peer: Candidate, scale: Scale) -> Round:
    peer.mkdir(peer.path("/d"))
    one, other = peer.path("/d/one"), peer.path("/d/other")
    peer.write_bytes(one, b"x")
    pairs = scale.count(3000, 300)
    rename = peer.rename

    def run(watch: Stopwatch) -> int:
        with watch.measure():
            for _ in range(pairs):
                rename(one, other)
                rename(other, one)
        return 2 * pairs

    return run


def _listdir(peer: Candidate, scale: Scale, *, cold: bool) -> Round:
    directory = peer.path("/d")
    peer.mkdir(directory)
    for path in fresh_paths(peer, "/d", range(1000)):
        peer.write_bytes(path, b"")
    if len(peer.listdir(directory)) != 1000:
        raise AssertionError(f"{peer.name} does not list its files")
    count = scale.count(200, 20)
    listdir = peer.listdir
    drop = peer.drop_name_cache or (lambda _directory: None)

    def run(watch: Stopwatch) -> int:
        for _ in range(count):
            if cold:
                drop(directory)
            with watch.measure():
                listdir(directory)
        return count

    return run


# open handles


def _handle_rows() -> list[Row]:
    return [
        _row("open_close", "open + close for reading (binary)", times(10), _open_close),
        Row("handle_read", "`read(4096)` on a handle, 1 MiB file", TIME, times(1 / 1.1),
            lambda peer, scale: _handle_read(peer, scale, into=False), reference=True),
        Row("handle_readinto", "`readinto` 4 KiB on a handle, 1 MiB file", TIME, times(1),
            lambda peer, scale: _handle_read(peer, scale, into=True), reference=True),
    ]  # fmt: skip


def _open_close(peer: Candidate, scale: Scale) -> Round:
    peer.mkdir(peer.path("/d"))
    kept = fresh_paths(peer, "/d", range(1000))
    for path in kept:
        peer.write_bytes(path, b"x")
    order = [random.Random(7).randrange(1000) for _ in range(scale.count(10_000, 1000))]
    paths = [kept[number] for number in order]
    open_ = peer.open

    def run(watch: Stopwatch) -> int:
        with watch.measure():
            for path in paths:
                open_(path, "rb").close()
        return len(paths)

    return run


def _handle_read(peer: Candidate, scale: Scale, *, into: bool) -> Round:
    pieces = 256
    passes = scale.count(20, 2)
    peer.mkdir(peer.path("/d"))
    path = peer.path("/d/file")
    peer.write_bytes(path, bytes(pieces * BLOCK))
    buffer = bytearray(BLOCK)

    def run(watch: Stopwatch) -> int:
        with peer.open(path, "rb") as file:
            read, argument = (file.readinto, buffer) if into else (file.read, BLOCK)
            for _ in range(passes):
                file.seek(0)
                with watch.measure():
                    for _ in range(pieces):
                        read(argument)
                if file.read(1):
                    raise AssertionError(f"{peer.name} read less than it was asked for")
        return passes * pieces

    return run
