"""What is said and asked about memory and the disk: priorities, pins, gc, explain, counters."""

from __future__ import annotations

import time
from pathlib import PurePosixPath

import pytest

import brimfs
from cold import KIB, MIB, audit, content, fill, is_cold


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
        for path in paths * 3:
            fs.read_bytes(path)
        stats = fs.stats()
        assert stats.cold_files == 100, "what is back has a copy still"
        assert all(fs.explain(path).clean_bytes == 8 * KIB for path in paths)
        assert (stats.reads, stats.hits, stats.misses) == (300, 200, 100)
        assert stats.hit_rate == pytest.approx(2 / 3)
        fs.gc(0.0)
        assert fs.stats().disk_written == stats.disk_written, "not a byte"
        for number, path in enumerate(paths[:50]):
            fs.write_bytes(path, content(1000 + number, 8 * KIB))
        assert fs.stats().cold_files == 50
        assert fs.stats().disk_dead >= 50 * 8 * KIB
        assert (stats.swaps_in, stats.swapped_in, stats.cold_units) == (100, 100 * 8 * KIB, 100)
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
