"""What is said and asked about memory and the disk: priorities, gc, preload, explain, counters."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

import brimfs

KIB = 1 << 10
MIB = 1 << 20


def content(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


@pytest.fixture
def spilling(tmp_path: Path) -> Iterator[brimfs.FileSystem]:
    with brimfs.FileSystem(memory_limit="16MiB", spill_dir=tmp_path) as fs:
        yield fs
        audit(fs)


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


def wake(fs: brimfs.FileSystem) -> None:
    """Spill something: before that nothing is tracked."""
    fs.write_bytes("/ballast", content(0, 64 * KIB), priority=0)
    stats = fs.stats()
    fs.gc((stats.resident - 1) / stats.memory_limit)
    assert is_cold(fs, "/ballast")


# ---------------------------------------------------------------- the constructor


@pytest.mark.parametrize("policy", ["g2", "lru", "sieve", "s3fifo"])
def test_every_policy_can_be_chosen(tmp_path, policy):
    options = {"memory_limit": "8MiB", "spill_dir": tmp_path, "compression": "lz4"}
    with brimfs.FileSystem(policy=policy, **options) as fs:
        files = {f"/f{number}": b"%6d" % number * 10_000 for number in range(400)}
        for path, data in files.items():
            fs.write_bytes(path, data)
        for path, data in files.items():
            assert fs.read_bytes(path) == data
        stats = fs.stats()
        assert stats.swaps_out > 100
        assert stats.disk_live < stats.cold_bytes / 2, "compressed"


def test_content_is_not_compressed_unless_asked(tmp_path):
    with brimfs.FileSystem(memory_limit="8MiB", spill_dir=tmp_path, compression=None) as fs:
        for number in range(40):
            fs.write_bytes(f"/f{number}", bytes(100_000))
        fs.gc(0.0)
        assert fs.stats().disk_live >= fs.stats().cold_bytes == 40 * 100_000


@pytest.mark.parametrize(
    ("threshold", "reads", "counted"),
    [(10, 9, 5), (10, 10, 6), (3, 2, 5), (3, 3, 6), (None, 100, 5)],
)
def test_a_file_that_is_read_often_counts_one_priority_higher(tmp_path, threshold, reads, counted):
    with brimfs.FileSystem(
        memory_limit="16MiB", spill_dir=tmp_path, priority_boost_threshold=threshold
    ) as fs:
        wake(fs)
        fs.write_bytes("/a", content(1, 4096))
        for _ in range(reads):
            fs.read_bytes("/a")
        assert fs.explain("/a").priority_counted == counted
        assert fs.get_priority("/a") == 5


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"policy": "fifo"}, ValueError, "g2, lru, sieve, s3fifo"),
        ({"policy": None}, TypeError, "policy should be str"),
        ({"policy": 5}, TypeError, "policy should be str, not int"),
        ({"priority_boost_threshold": 0}, ValueError, "from 1 to 255, or None"),
        ({"priority_boost_threshold": 256}, ValueError, "from 1 to 255, or None"),
        ({"priority_boost_threshold": -1}, ValueError, "priority_boost_threshold"),
        ({"priority_boost_threshold": True}, TypeError, "should be int, not bool"),
        ({"priority_boost_threshold": 1.5}, TypeError, "should be int, not float"),
        ({"compression": "zip"}, ValueError, "'lz4' or None"),
        ({"compression": 5}, TypeError, "compression"),
        ({"spill_dir": False, "policy": "lru"}, ValueError, "policy needs a disk"),
        ({"spill_dir": False, "priority_boost_threshold": 3}, ValueError, "needs a disk"),
        ({"spill_dir": False, "compression": "lz4"}, ValueError, "compression needs a disk"),
        ({"spill_dir": False, "disk_limit": "1GiB"}, ValueError, "disk_limit needs a disk"),
    ],
)
def test_options_that_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        brimfs.FileSystem(**options)


def test_filesystems_of_a_budget_have_one_policy(tmp_path):
    budget = brimfs.Budget("16MiB")
    with brimfs.FileSystem(budget=budget, spill_dir=tmp_path, policy="lru"):
        with pytest.raises(ValueError, match="share this budget"):
            brimfs.FileSystem(budget=budget, spill_dir=tmp_path, policy="sieve")
        brimfs.FileSystem(budget=budget).close()


# ---------------------------------------------------------------- priorities and pins


def test_a_priority_belongs_to_the_file(fs):
    fs.write_bytes("/a", b"a")
    assert fs.get_priority("/a") == 5
    for priority in range(11):
        fs.set_priority("/a", priority)
        assert fs.get_priority("/a") == priority
        assert fs.is_pinned("/a") == (priority >= 9)
    fs.set_priority(b"/a", 2)
    fs.link("/a", "/link")
    fs.symlink("/a", "/symlink")
    fs.set_priority(PurePosixPath("/symlink"), 3)
    fs.rename("/a", "/b")
    fs.write_bytes("/b", b"again")
    assert fs.get_priority("/b") == fs.get_priority("/link") == 3
    fs.copy("/b", "/copy")
    assert fs.get_priority("/copy") == 3


def test_a_pin_stands_beside_the_priority(fs):
    fs.write_bytes("/a", b"a", priority=3)
    fs.pin("/a")
    fs.pin("/a")
    assert (fs.is_pinned("/a"), fs.get_priority("/a")) == (True, 3)
    fs.set_priority("/a", 4)
    fs.unpin("/a")
    fs.unpin("/a")
    assert (fs.is_pinned("/a"), fs.get_priority("/a")) == (False, 4)
    fs.set_priority("/a", 9)
    fs.unpin("/a")
    assert fs.is_pinned("/a"), "by its priority"


@pytest.mark.parametrize("data", [b"x", b"x" * 5000, bytearray(100), memoryview(bytes(200_000))])
def test_writing_sets_a_priority(fs, data):
    assert fs.write_bytes("/a", data, priority=7) == len(data)
    assert fs.get_priority("/a") == 7
    fs.write_bytes("/a", data)
    fs.write_bytes("/a", data, priority=None)
    assert fs.get_priority("/a") == 7
    fs.write_bytes(path="/a", data=data, priority=0)
    assert fs.get_priority("/a") == 0
    assert fs.read_bytes("/a") == data


def test_opening_sets_a_priority(fs):
    with fs.open("/a", "wb", priority=8) as file:
        file.write(b"a")
    assert fs.get_priority("/a") == 8
    with fs.open("/a", "a", priority=None) as file:
        file.write("b")
    assert fs.get_priority("/a") == 8
    with fs.open("/a", priority=1) as file:
        assert file.read() == "ab"
    assert fs.get_priority("/a") == 1


@pytest.mark.parametrize(
    ("priority", "error"),
    [(11, ValueError), (-1, ValueError), (1 << 70, ValueError)]
    + [(value, TypeError) for value in (True, 5.0, "5", [5])],
)
def test_priorities_that_are_refused(fs, priority, error):
    fs.write_bytes("/a", b"old")
    calls = [
        lambda: fs.set_priority("/a", priority),
        lambda: fs.write_bytes("/a", b"new", priority=priority),
        lambda: fs.write_bytes("/new", b"new", priority=priority),
        lambda: fs.open("/a", "wb", priority=priority),
        lambda: fs.preload(["/a"], priority),
    ]
    for call in calls:
        with pytest.raises(error, match="priority should be"):
            call()
    assert (fs.get_priority("/a"), fs.read_bytes("/a")) == (5, b"old")
    assert not fs.exists("/new")


def test_the_arguments_of_writing(fs):
    for arguments in ((), ("/a",), ("/a", b"", 5)):
        with pytest.raises(TypeError, match="argument"):
            fs.write_bytes(*arguments)
    with pytest.raises(TypeError, match="missing required argument: 'data'"):
        fs.write_bytes("/a", priority=5)
    with pytest.raises(TypeError, match="None"):
        fs.set_priority("/a", None)


@pytest.mark.parametrize(
    "name", ["set_priority", "get_priority", "pin", "unpin", "is_pinned", "explain"]
)
def test_errors_name_the_path(fs, name):
    fs.mkdir("/d")
    method = getattr(fs, name)
    rest = (5,) if name == "set_priority" else ()
    with pytest.raises(FileNotFoundError) as missing:
        method(b"/x", *rest)
    assert missing.value.filename == b"/x"
    with pytest.raises(IsADirectoryError) as directory:
        method("/d", *rest)
    assert directory.value.filename == "/d"
    with pytest.raises(TypeError):
        method(5, *rest)
    fs.close()
    with pytest.raises(ValueError, match="closed"):
        method("/d", *rest)


def test_what_has_the_lower_priority_is_spilled_first(spilling):
    for number in range(800):
        priority = 2 if number % 2 else 8
        spilling.write_bytes(f"/f{number}", content(number, 8 * KIB), priority=priority)
    stats = spilling.stats()
    spilling.gc((stats.resident - 3 * MIB) / stats.memory_limit)
    cold = [number for number in range(800) if is_cold(spilling, f"/f{number}")]
    low = sum(number % 2 for number in cold)
    assert low > 350
    assert len(cold) - low < 100


# ---------------------------------------------------------------- gc


def test_gc_frees_down_to_its_target(spilling):
    paths = fill(spilling, 60, 100_000)
    spilling.pin(paths[0])
    before = spilling.stats()
    report = spilling.gc((before.resident - 2 * MIB) / before.memory_limit)
    assert report.reached
    # What the caches of this side gave back is not resident any more when it begins.
    assert report.resident_before <= before.resident
    assert report.target - 2 * 100_000 < report.resident_after <= report.target
    assert report.resident_after == spilling.stats().resident
    assert report.written_bytes == report.written_units * 100_000 > MIB
    assert (report.dropped_units, report.dropped_bytes, report.pinned_units) == (0, 0, 0)
    assert not is_cold(spilling, paths[0])
    assert 0 < report.duration < 60
    again = spilling.gc(report.target / before.memory_limit + 1e-9)
    assert again.written_units == again.caches == 0

    report = spilling.gc(0)
    assert not report.reached
    assert report.target == 0
    assert report.pinned_units == 1
    assert is_cold(spilling, paths[0])
    assert spilling.stats().cold_files == 60
    assert [spilling.read_bytes(path) for path in paths] == [content(n, 100_000) for n in range(60)]
    assert "bytes are resident" in str(report)
    assert repr(report).startswith("<brimfs.GcReport ")
    assert "target 0 B not reached" in repr(report)
    assert report._asdict()["pinned_units"] == 1
    assert set(report._asdict()) == {name for name in dir(report) if not name.startswith("_")}
    with pytest.raises(AttributeError):
        report.target = 5


def test_gc_without_a_disk_gives_caches_back():
    with brimfs.FileSystem(memory_limit="16MiB", spill_dir=False) as fs:
        paths = fill(fs, 100, 10_000)
        for path in paths * 2:
            assert fs.exists(path)
        before = fs.stats().resident
        report = fs.gc(0.0)
        assert not report.reached
        assert report.written_units == report.dropped_units == 0
        assert report.resident_after < before


@pytest.mark.parametrize(
    ("target", "error"),
    [(-0.1, ValueError), (1.1, ValueError), (float("nan"), ValueError), (1 << 2000, ValueError)]
    + [(value, TypeError) for value in (None, "0.5", True)],
)
def test_targets_that_are_refused(fs, target, error):
    with pytest.raises(error, match="target should be"):
        fs.gc(target)


def test_a_full_disk_is_an_error_of_gc_that_loses_nothing(tmp_path):
    with brimfs.FileSystem(memory_limit="64MiB", spill_dir=tmp_path, disk_limit="16MiB") as fs:
        paths = fill(fs, 40, MIB)
        with pytest.raises(OSError, match="Disk limit reached") as raised:
            fs.gc(0.0)
        assert raised.value.errno == 28
        for number, path in enumerate(paths):
            assert fs.read_bytes(path) == content(number, MIB)
        audit(fs)


# ---------------------------------------------------------------- preload


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


# ---------------------------------------------------------------- explain


def test_explain_says_where_a_file_is_and_why(spilling):
    spilling.write_bytes("/early", content(1, 4096))
    assert spilling.explain("/early").kept == "never_short"
    wake(spilling)
    spilling.write_bytes("/small", b"small")
    spilling.write_bytes("/a", content(1, 4096), priority=7)
    spilling.write_bytes("/pinned", content(1, 4096))
    spilling.pin("/pinned")
    spilling.write_bytes("/sparse", b"")
    spilling.truncate("/sparse", 3 * MIB)
    spilling.write_bytes("/viewed", content(1, 4096))
    with spilling.view("/viewed"):
        assert spilling.explain("/viewed").kept == "viewed"
    assert spilling.explain("/small").kept == "small"
    assert spilling.explain("/pinned").kept == "pinned"
    assert spilling.explain("/pinned").pinned
    sparse = spilling.explain("/sparse")
    assert (sparse.kept, sparse.holes, sparse.size) == (None, 3 * MIB, 3 * MIB)

    spilling.read_bytes("/a")
    why = spilling.explain(PurePosixPath("/a"))
    assert (why.path, why.size, why.priority, why.priority_counted) == ("/a", 4096, 7, 7)
    assert (why.resident_units, why.resident_bytes) == (1, 4096)
    assert (why.cold_units, why.cold_bytes) == (0, 0)
    assert (why.accesses, why.kept, why.pinned) == (1, "worth", False)
    assert 0 < why.value_left <= why.value
    assert why.proven is False
    assert (why.spilled_at, why.spill_cause) == (None, None)
    assert str(why).startswith('"/a" has 4096 bytes: 4096 bytes in 1 unit in memory. ')
    assert str(why).endswith("It is in memory because other content is worth less.")

    before = time.time()
    spilling.gc(0.0)
    why = spilling.explain(b"/a")
    assert why.path == b"/a"
    assert (why.resident_units, why.cold_units, why.cold_bytes, why.kept) == (0, 1, 4096, None)
    assert (why.value, why.value_left, why.proven) == (None, None, None)
    assert why.spill_cause == "gc"
    assert before - 0.3 <= why.spilled_at <= time.time() + 0.3
    assert '"/a" has 4096 bytes: 4096 bytes in 1 unit on the disk only' in str(why)
    assert str(why).endswith("seconds ago, because gc was called.")
    assert repr(why).startswith('<brimfs.Explanation: "/a" has 4096 bytes')
    assert set(why._asdict()) == {name for name in dir(why) if not name.startswith("_")}
    assert why._asdict()["path"] == b"/a"

    large = content(2, 2 * MIB)
    spilling.write_bytes("/large", large)
    spilling.gc(0.0)
    assert spilling.read_bytes("/large") == large
    why = spilling.explain("/large")
    assert (why.clean_units, why.clean_bytes, why.resident_units) == (2, 2 * MIB, 2)


def test_explain_without_a_disk():
    with brimfs.FileSystem(memory_limit="64MiB", spill_dir=False) as fs:
        fs.write_bytes("/a", content(1, 4096))
        assert fs.explain("/a").kept == "no_disk"
        assert "there is no disk to spill to" in str(fs.explain("/a"))


# ---------------------------------------------------------------- counters


def test_counters_of_operations(fs):
    assert fs.stats().hit_rate == 1.0
    fs.write_bytes("/a", b"x" * 5000)
    fs.append_bytes("/a", b"y")
    with fs.open("/a", "rb") as file:
        file.read(10)
    fs.read_bytes("/a")
    fs.remove("/a")
    with pytest.raises(FileNotFoundError):
        fs.read_bytes("/a")
    stats = fs.stats()
    assert (stats.opens, stats.reads, stats.writes, stats.removals) == (1, 2, 2, 1)
    for mean in (stats.mean_open, stats.mean_read, stats.mean_write, stats.mean_removal):
        assert 0 < mean < 10
    assert (stats.hits, stats.misses, stats.hit_rate) == (2, 0, 1.0)
    assert (stats.disk_used, stats.disk_limit, stats.cold_files) == (0, None, 0)
    assert repr(stats).endswith("resident, nothing cold>")


def test_counters_of_the_disk(tmp_path):
    with brimfs.FileSystem(memory_limit="16MiB", spill_dir=tmp_path, disk_limit="64MiB") as fs:
        paths = fill(fs, 100, 8 * KIB)
        fs.gc(0.0)
        stats = fs.stats()
        assert (stats.cold_bytes, stats.cold_units, stats.cold_files) == (100 * 8 * KIB, 100, 100)
        assert (stats.evictions, stats.swaps_out, stats.swapped_out) == (100, 100, 100 * 8 * KIB)
        assert stats.disk_limit == 64 * MIB
        assert stats.cold_bytes < stats.disk_live <= stats.disk_used <= stats.disk_limit
        assert stats.disk_written >= stats.disk_live
        assert "800.0 KiB of 100 files cold" in repr(stats)
        for path in paths[:50] * 3:
            fs.read_bytes(path)
        assert fs.stats().cold_files == 50
        assert fs.stats().disk_dead >= 50 * 8 * KIB
        for path in paths[50:] * 3:
            fs.read_bytes(path)
        stats = fs.stats()
        assert (stats.reads, stats.hits, stats.misses) == (300, 200, 100)
        assert stats.hit_rate == pytest.approx(2 / 3)
        assert (stats.swaps_in, stats.swapped_in, stats.cold_units) == (100, 100 * 8 * KIB, 0)
        assert stats.disk_read >= 100 * 8 * KIB
        as_dict = stats._asdict()
        assert as_dict["hit_rate"] == stats.hit_rate
        assert set(as_dict) == {name for name in dir(stats) if not name.startswith("_")}


def test_waits_for_memory_are_counted_in_seconds(spilling):
    for number in range(200):
        spilling.write_bytes(f"/f{number}", content(number, MIB))
    stats = spilling.stats()
    assert stats.stalls > 0
    assert 0 < stats.longest_stall <= stats.stalled < 300


def test_a_lower_limit_of_a_budget_spills_what_is_too_much(tmp_path):
    budget = brimfs.Budget("64MiB")
    with (
        brimfs.FileSystem(budget=budget, spill_dir=tmp_path) as first,
        brimfs.FileSystem(budget=budget) as second,
    ):
        for fs in (first, second):
            fill(fs, 20, MIB)
        budget.limit = "16MiB"
        assert budget.limit == first.stats().memory_limit == 16 * MIB
        assert budget.used <= 16 * MIB
        assert first.stats().cold_bytes > 20 * MIB
        for fs in (first, second):
            for number in range(20):
                assert fs.read_bytes(f"/f{number}") == content(number, MIB)
        assert budget.used <= 16 * MIB
        with pytest.raises((brimfs.MemoryLimitExceeded, ValueError)):
            budget.limit = "64KiB"
        assert budget.limit == 16 * MIB
        budget.limit = 128 * MIB
        assert second.stats().memory_limit == 128 * MIB


# ---------------------------------------------------------------- the log


def test_what_is_done_is_in_the_log(tmp_path):
    with brimfs.FileSystem(memory_limit="64MiB", spill_dir=tmp_path, operation_log=100) as fs:
        begun = time.time()
        fs.write_bytes("/a", b"x" * 100)
        fs.append_bytes("/a", b"y" * 5)
        assert len(fs.read_bytes("/a")) == 105
        fs.write_bytes("/large", content(1, 3 * MIB))
        fs.gc(0.0)
        assert fs.read_bytes("/large") == content(1, 3 * MIB)
        fs.view("/a").release()
        with fs.open("/a", "r+b") as file:
            file.read(10)
            file.readinto(bytearray(20))
            file.write(b"z")
        fs.truncate("/a", 3)
        fs.set_priority("/a", 3)
        fs.rename("/a", "/b")
        fs.remove("/b")
        with pytest.raises(FileNotFoundError):
            fs.read_bytes("/b")
        with pytest.raises(IsADirectoryError):
            fs.write_bytes("/", b"")
        log = fs.operation_log()
        assert [(entry.op, entry.path, entry.bytes, entry.error) for entry in log] == [
            ("write", "/a", 100, None),
            ("append", "/a", 5, None),
            ("read", "/a", 105, None),
            ("write", "/large", 3 * MIB, None),
            ("gc", None, 3 * MIB, None),
            ("read", "/large", 3 * MIB, None),
            ("view", "/a", 105, None),
            ("open", "/a", 0, None),
            ("read", "/a", 10, None),
            ("read", "/a", 20, None),
            ("write", "/a", 1, None),
            ("truncate", "/a", 0, None),
            ("set the priority of", "/a", 0, None),
            ("rename", "/a", 0, None),
            ("remove", "/b", 0, None),
            ("read", "/b", 0, "NotFound"),
            ("write", "/", 0, "IsADirectory"),
        ]
        assert log[13].other == "/b"
        for entry in log:
            assert begun - 0.1 <= entry.time <= time.time()
            assert 0 <= entry.duration < 60
        assert json.loads(str(log[0]))["op"] == "write"
        assert repr(log[0]).startswith('<brimfs.LogEntry {"time":')
        assert log[0]._asdict()["bytes"] == 100
        assert fs.stats().log_lines_lost == 0


def test_the_oldest_entries_of_the_log_make_room():
    with brimfs.FileSystem(memory_limit="64MiB", operation_log=3) as fs:
        fill(fs, 10, 10)
        assert [entry.path for entry in fs.operation_log()] == ["/f7", "/f8", "/f9"]
    with brimfs.FileSystem(memory_limit="64MiB") as fs:
        fill(fs, 10, 10)
        assert fs.operation_log() == []


def test_a_file_gets_every_line_of_the_log(tmp_path):
    for path in (tmp_path / "log.jsonl", str(tmp_path / "log.jsonl")):
        with brimfs.FileSystem(memory_limit="64MiB", operation_log=path) as fs:
            fs.write_bytes("/a", b"abc")
            assert fs.operation_log() == []
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["op"], line["path"], line["bytes"]) for line in lines] == [("write", "/a", 3)] * 2
    with pytest.raises(OSError, match="No such file"):
        brimfs.FileSystem(memory_limit="64MiB", operation_log=tmp_path / "missing" / "log")


@pytest.mark.parametrize(
    ("log", "error"),
    [(0, ValueError), (-1, ValueError), (1 << 40, ValueError), (True, TypeError), (1.5, TypeError)],
)
def test_logs_that_are_refused(log, error):
    with pytest.raises(error, match="operation_log"):
        brimfs.FileSystem(operation_log=log)
