"""Rows of many bytes, many files and many threads."""

from __future__ import annotations

import random
import threading
from typing import Any

from .measure import FILES_PER_SECOND, TIME, Round, Scale, Stopwatch, at_most, times
from .peers import Candidate
from .row import Row
from .rows_small import fresh_paths

MIB = 1 << 20
ARRAY_NS_MOST = 2000.0
CSV = b"id,name\n1,alpha\n2,beta\n\n"
THREADS = 10


def rows() -> list[Row]:
    array = at_most(ARRAY_NS_MOST, TIME)
    return [
        Row("stream", "256 MiB written and read in 1 MiB pieces", TIME, times(1.5),
            lambda peer, scale: _stream(peer, scale, copied=False)),
        Row("stream_copied", "256 MiB of `bytearray` pieces written, read by `readinto`",
            TIME, times(1.5), lambda peer, scale: _stream(peer, scale, copied=True)),
        Row("random_files", "one of 10,000 files of 4 KiB at random, read whole by a handle",
            TIME, times(10), lambda peer, scale: _random_files(peer, scale, fresh=False)),
        Row("random_files_fresh", "the same with fresh path strings",
            TIME, times(10), lambda peer, scale: _random_files(peer, scale, fresh=True)),
        Row("array_adopted", "numpy array over a 256 MiB file written as `bytes`", TIME, array,
            lambda peer, scale: _array(peer, scale, whole=True)),
        Row("array_streamed", "numpy array over a 256 MiB file written in pieces", TIME, array,
            lambda peer, scale: _array(peer, scale, whole=False)),
        Row("staging", "10 threads staging 24-byte CSV files (write, read back)",
            FILES_PER_SECOND, times(8), _staging, wall=True),
    ]  # fmt: skip


def _stream(peer: Candidate, scale: Scale, *, copied: bool) -> Round:
    """With `copied` nobody can keep a piece by reference: every byte is copied in and out."""
    size = scale.size(256, 32) * MIB
    pattern = bytes(range(256)) * (MIB // 256)
    piece = bytearray(pattern) if copied else pattern
    room = bytearray(MIB)
    path = peer.path("/large")

    def drain(file: Any) -> int:
        total = 0
        if copied:
            while count := file.readinto(room):
                total += count
        else:
            while data := file.read(MIB):
                total += len(data)
        return total

    def run(watch: Stopwatch) -> int:
        with watch.measure():
            with peer.open(path, "wb") as file:
                for _ in range(size // MIB):
                    file.write(piece)
            with peer.open(path, "rb") as file:
                total = drain(file)
        if total != size or (copied and room != piece):
            raise AssertionError(f"{peer.name} read {total} bytes of {size}")
        peer.remove(path)
        return 1

    return run


def _random_files(peer: Candidate, scale: Scale, *, fresh: bool) -> Round:
    files = scale.size(10_000, 1000)
    peer.mkdir(peer.path("/d"))
    kept = fresh_paths(peer, "/d", range(files))
    for number, path in enumerate(kept):
        peer.write_bytes(path, number.to_bytes(4, "big") * 1024)
    order = list(range(files))
    random.Random(11).shuffle(order)
    order = order[: scale.count(files, files)]
    repeated = [kept[number] for number in order]
    open_ = peer.open

    def run(watch: Stopwatch) -> int:
        paths = fresh_paths(peer, "/d", order) if fresh else repeated
        total = 0
        with watch.measure():
            for path in paths:
                with open_(path, "rb") as file:
                    total += len(file.read())
        if total != len(paths) * 4096:
            raise AssertionError(f"{peer.name} read {total} bytes of {len(paths) * 4096}")
        return len(paths)

    return run


def _array(peer: Candidate, scale: Scale, *, whole: bool) -> Round | None:
    if peer.array is None:
        return None
    size = scale.size(256, 16) * MIB
    path = peer.path("/large")
    piece = bytes(range(256)) * (MIB // 256)
    if whole:
        peer.write_bytes(path, piece * (size // MIB))
    else:
        with peer.open(path, "wb") as file:
            for _ in range(size // MIB):
                file.write(piece)
    array = peer.array
    # Two arrays at once show the same memory: nothing was copied for either. (Every mapping of
    # tmpfs has an address of its own.)
    one, other = array(path), array(path)
    if len(one) != size or int(one[-1]) != 255:
        raise AssertionError(f"{peer.name} shows another content")
    if peer.name != "tmpfs" and one.ctypes.data != other.ctypes.data:
        raise AssertionError(f"{peer.name} copied the file for its array")
    del one, other
    count = scale.count(500, 50)

    def run(watch: Stopwatch) -> int:
        with watch.measure():
            for _ in range(count):
                array(path)
        return count

    return run


def _staging(peer: Candidate, scale: Scale) -> Round | None:
    if not peer.thread_safe:
        return None
    each = scale.size(2000, 200)
    generation = 0

    def stage(directory: str, start: threading.Barrier, failures: list[BaseException]) -> None:
        paths = fresh_paths(peer, directory, range(each))
        write, read = peer.write_bytes, peer.read_bytes
        start.wait()
        try:
            for path in paths:
                write(path, CSV)
                if read(path) != CSV:
                    raise AssertionError(f"{peer.name} lost a file of another thread")
        except BaseException as error:
            failures.append(error)

    def run(watch: Stopwatch) -> int:
        nonlocal generation
        generation += 1
        directories = [f"/stage{generation}-{number}" for number in range(THREADS)]
        start = threading.Barrier(THREADS + 1)
        failures: list[BaseException] = []
        threads = []
        for directory in directories:
            peer.mkdir(peer.path(directory))
            thread = threading.Thread(target=stage, args=(directory, start, failures))
            thread.start()
            threads.append(thread)
        start.wait()
        with watch.measure():
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]
        for directory in directories:
            for path in fresh_paths(peer, directory, range(each)):
                peer.remove(path)
        return THREADS * each

    return run
