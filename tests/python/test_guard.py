"""The memory guard, in a control group that is nearly full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20
ROOM = 320 * MIB


def memory_group() -> tuple[Path, str] | None:
    """The directory of this process's memory group, and the name of a group's limit there."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path.strip("/"), "memory.limit_in_bytes"
    top = Path("/sys/fs/cgroup")
    return (top, "memory.max") if (top / "cgroup.controllers").exists() else None


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group with room for 320 MiB, for processes of a test."""
    found = memory_group()
    if found is None:
        pytest.skip("this system has no memory control groups")
    parent, limit = found
    group = parent / f"brimfs-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(ROOM))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no memory control group can be made here: {error}")
    yield group
    group.rmdir()


SCRIPT = """
import os, sys, warnings
open(sys.argv[1], "w").write(str(os.getpid()))
import brimfs
block = bytearray(1 << 20)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fs = brimfs.FileSystem(memory_limit="1GiB", memory_guard=sys.argv[2])
    with fs.open("/a", "wb") as file:
        try:
            for _ in range(270):
                file.write(block)
        except OSError as error:
            print(type(error).__name__, error)
    print(len(caught), *[f"{w.category.__name__}: {w.message}" for w in caught[:1]])
    print(fs.stats().quota_used >> 20)
"""


def run_in(group: Path, run_script, action: str) -> list[str]:
    script = SCRIPT.replace("sys.argv[1]", repr(str(group / "cgroup.procs")))
    done = run_script(script.replace("sys.argv[2]", repr(action)))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_guard_warns_and_lets_the_write_through(small_group, run_script):
    count, written = run_in(small_group, run_script, "warn")
    assert written == "270"
    assert int(count.split()[0]) >= 1
    assert "RuntimeWarning: the machine is short of memory: a write of 1" in count


def test_the_guard_refuses_where_it_was_asked_to(small_group, run_script):
    error, count, written = run_in(small_group, run_script, "refuse")
    assert error.startswith("MemoryLimitExceeded [Errno 12] The machine is short of memory"), error
    assert error.endswith("'/a'"), error
    assert count == "0"
    assert 100 < int(written) < 270


def test_a_guard_that_is_off_says_nothing(small_group, run_script):
    assert run_in(small_group, run_script, "off") == ["0", "270"]
