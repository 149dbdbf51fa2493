"""Files are brought into memory ahead of use."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

import brimfs
from cold import KIB, content, fill, is_cold


def test_preload_brings_files_in(spilling):
    paths = fill(spilling, 200, 20_000)
    spilling.write_bytes("/large", content(7, 3_500_000))
    spilling.gc(0.0)
    preload = spilling.preload([*paths, "/large"], priority=7)
    assert isinstance(preload, brimfs.Preload)
    assert preload.wait()
    assert preload.done()
    report = preload.result()
    assert (report.files, report.errors, report.cancelled) == (201, (), False)
    assert (report.loaded_units, report.loaded_bytes) == (204, 200 * 20_000 + 3_500_000)
    assert 0 < report.duration < 60
    stats = spilling.stats()
    assert (stats.preloads, stats.preloaded) == (204, report.loaded_bytes)
    assert not any(is_cold(spilling, path) for path in paths)
    assert spilling.get_priority("/large") == spilling.get_priority(paths[5]) == 7
    for number, path in enumerate(paths):
        assert spilling.read_bytes(path) == content(number, 20_000)
    assert spilling.read_bytes("/large") == content(7, 3_500_000)
    assert spilling.stats().misses == 0

    again = spilling.preload(path for path in ["/large"])
    assert again.id > preload.id
    assert again.wait(timeout=30)
    assert (again.result().files, again.result().loaded_units) == (1, 0)
    assert spilling.get_priority("/large") == 7
    assert repr(again) == f"<brimfs.Preload {again.id}, done>"
    assert repr(report) == "<brimfs.PreloadReport 201 files, 7.2 MiB brought in, 0 errors>"
    assert set(report._asdict()) == {name for name in dir(report) if not name.startswith("_")}
    spilling.preload([]).wait()


def test_what_is_wrong_with_a_path_is_in_the_result(spilling):
    fill(spilling, 3, 5_000)
    spilling.mkdir("/d")
    spilling.gc(0.0)
    preload = spilling.preload(["/f0", "/missing", "/f1", "/d", "a\0b", "/f2"])
    assert preload.wait(timeout=30)
    report = preload.result()
    assert report.files == 3
    kinds = [(type(error), error.filename) for error in report.errors]
    assert kinds == [
        (FileNotFoundError, "/missing"),
        (IsADirectoryError, "/d"),
        (brimfs.InvalidPath, "a\0b"),
    ]
    assert "3 errors" in repr(report)
    preload = spilling.preload([b"/missing"])
    assert preload.wait(timeout=30)
    assert preload.result().errors[0].filename == b"/missing"


def test_what_does_not_fit_does_not_push_out_what_came_before(spilling):
    paths = fill(spilling, 400, 60 * KIB)
    spilling.gc(0.0)
    preload = spilling.preload(paths)
    assert preload.wait(timeout=60)
    report = preload.result()
    assert 60 < report.files < 400
    assert len(report.errors) == 400 - report.files
    assert all(isinstance(error, brimfs.MemoryLimitExceeded) for error in report.errors)
    cold = sum(is_cold(spilling, path) for path in paths[: report.files])
    assert cold <= report.files / 20
    stats = spilling.stats()
    assert stats.resident_peak <= stats.memory_limit


def test_without_anything_cold_a_preload_is_done_at_once():
    with brimfs.FileSystem(memory_limit="16MiB", spill_dir=False) as fs:
        fs.write_bytes("/a", b"x" * 5000)
        preload = fs.preload(["/a"])
        assert preload.done()
        assert preload.result().files == 1


@pytest.mark.parametrize("paths", ["/a", b"/a", 5, None, [5], PurePosixPath("/a")])
def test_paths_that_are_refused(fs, paths):
    fs.write_bytes("/a", b"")
    with pytest.raises(TypeError):
        fs.preload(paths)


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
def test_timeouts_that_are_refused(fs, timeout, error):
    with pytest.raises(error, match="timeout"):
        fs.preload([]).wait(timeout)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Callable[[], brimfs.Preload]]:
    """Begins a preload of 60,000 files, all of them cold, which takes a good while."""
    with brimfs.FileSystem(memory_limit="512MiB", spill_dir=tmp_path) as fs:
        data = content(1, 3_000)
        paths = [f"/f{number}" for number in range(60_000)]
        for path in paths:
            fs.write_bytes(path, data)

        def begin() -> brimfs.Preload:
            fs.gc(0.0)
            return fs.preload(paths)

        yield begin


def test_the_result_waits_for_the_end(slow):
    preload = slow()
    with pytest.raises(RuntimeError, match=f"preload {preload.id} is still under way"):
        preload.result()
    assert not preload.done()
    assert "under way" in repr(preload)
    assert preload.wait(timeout=0) is False
    begun = time.monotonic()
    assert preload.wait(timeout=0.01) is False
    assert time.monotonic() - begun >= 0.01
    assert preload.wait()
    assert preload.result().files == 60_000


def test_others_go_on_while_one_waits(slow):
    stop = threading.Event()
    turns = 0

    def work():
        nonlocal turns
        while not stop.is_set():
            turns += 1

    preload = slow()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        before = turns
        assert preload.wait()
        assert turns > before + 100
    finally:
        stop.set()
        thread.join()


def test_a_preload_can_be_cancelled(slow):
    preload = slow()
    preload.cancel()
    assert preload.wait(timeout=60)
    report = preload.result()
    assert report.cancelled
    assert report.files < 60_000
    assert report.errors == ()
    assert ", cancelled>" in repr(report)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timers")
def test_control_c_ends_a_wait_for_a_preload(slow):
    shot = 0.0

    def shoot(*_):
        nonlocal shot
        shot = time.monotonic()
        raise KeyboardInterrupt

    # The handler runs as soon as the wait looks at signals.
    old = signal.signal(signal.SIGALRM, shoot)
    try:
        preload = slow()
        begun = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            preload.wait()
        assert shot - begun < 0.02 + 0.1
        assert not preload.done()
        assert preload.wait()
        assert preload.result().files == 60_000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_closing_ends_preloads(tmp_path):
    fs = brimfs.FileSystem(memory_limit="256MiB", spill_dir=tmp_path)
    paths = fill(fs, 5_000, 20_000)
    fs.gc(0.0)
    preload = fs.preload(paths)
    fs.close()
    assert preload.wait(timeout=30)
    assert preload.done()
    for call in (lambda: fs.preload([]), lambda: fs.gc(0.0)):
        with pytest.raises(ValueError, match="closed"):
            call()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_neither_waits_nor_spills(spilling):
    paths = fill(spilling, 600, 20_000)
    spilling.gc(0.0)
    done = spilling.preload(paths[:3])
    assert done.wait()
    spilling.gc(0.0)
    calls: dict[str, Callable[[], object]] = {
        "set_priority": lambda: spilling.set_priority("/f0", 3),
        "get_priority": lambda: spilling.get_priority("/f0"),
        "pin": lambda: spilling.pin("/f0"),
        "unpin": lambda: spilling.unpin("/f0"),
        "is_pinned": lambda: spilling.is_pinned("/f0"),
        "write_bytes": lambda: spilling.write_bytes("/f0", b"x", priority=3),
        "open": lambda: spilling.open("/f0", "rb", priority=3),
        "explain": lambda: spilling.explain("/f0"),
        "gc": lambda: spilling.gc(0.0),
        "preload": lambda: spilling.preload(["/f0"]),
        "wait": lambda: running.wait(),
        "result": lambda: running.result(),
    }

    def child() -> str:
        for name, call in calls.items():
            try:
                call()
                return f"{name} did something"
            except brimfs.Forked:
                pass
        running.cancel()
        assert not running.done()
        assert done.wait(timeout=5)
        assert done.result().files == 3
        return "fine"

    reading, writing = os.pipe()
    running = spilling.preload(paths)
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            # One that ended before the fork is done in the child too.
            if running.done():
                calls.pop("wait")
                calls.pop("result")
            os.write(writing, child().encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"fine"
    assert os.waitpid(pid, 0)[1] == 0
    assert running.wait(timeout=30)
    assert spilling.get_priority("/f0") == 5
