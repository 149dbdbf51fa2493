"""What a process does to a store: exit, fork, being killed at any moment."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time

import pytest

import brimfs
from cold import audit
from store_oracle import check, check_host

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")

LIMIT = "64MiB"
# Kills of the loop below, and what they begin from. When they strike is the system's matter too.
KILLS = int(os.environ.get("BRIMFS_KILLS", "100"))
SEED = int(os.environ.get("BRIMFS_SEED", "1"))


# A store with more files is left for a new one: all of them are read after each kill.
FILES_MAX = 400


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def reopened(store, **keywords):
    return brimfs.FileSystem(store, memory_limit=LIMIT, **keywords)


BEGINNING = """
import atexit, os, sys, threading, time
import brimfs

fs = brimfs.FileSystem({store!r}, memory_limit="64MiB", durability="manual")
fs.write_bytes("/synced", b"x")
fs.sync()
fs.write_bytes("/later", b"y" * 5000)
file = fs.open("/open", "wb")
file.write(b"z" * 100)
text = fs.open("/text", "w")
text.write("buffered")
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise KeyError('the end')", 1),
        ("atexit.register(lambda: fs.write_bytes('/last', b''))", 0),
        ("threading.Thread(target=lambda: time.sleep(60), daemon=True).start()", 0),
        ("fs.me = None", 1),
        ("box = [fs]; box.append(box); del fs", 0),
    ],
)
def test_a_normal_end_keeps_everything(run_script, store, end, status):
    done = run_script(BEGINNING.format(store=str(store)) + end)
    assert done.returncode == status, done.stderr
    assert "Exception ignored" not in done.stderr
    with reopened(store) as fs:
        expected = ["synced", "later", "open", "text", *(["last"] if "last" in end else [])]
        assert fs.listdir("/") == expected
        assert fs.read_bytes("/later") == b"y" * 5000
        assert fs.read_bytes("/open") == b"z" * 100
        assert fs.read_text("/text") == "buffered"


@pytest.mark.parametrize("end", ["os._exit(4)", "os.kill(os.getpid(), 9)"])
def test_an_abrupt_end_keeps_what_was_synced(run_script, store, end):
    done = run_script(BEGINNING.format(store=str(store)) + end)
    assert done.returncode in (4, -signal.SIGKILL)
    with reopened(store) as fs:
        assert fs.listdir("/") == ["synced"]
        assert fs.read_bytes("/synced") == b"x"


def test_an_end_that_cannot_keep_everything_says_so(run_script, store):
    done = run_script(
        BEGINNING.format(store=str(store))
        + "import resource, signal\n"
        + "fs.write_bytes('/large', bytes(3_000_000))\n"
        + "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        + "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
    )
    assert "OSError" in done.stderr
    assert "panicked" not in done.stderr
    with reopened(store) as fs:
        assert fs.listdir("/") == ["synced"]


FORKING = """
import gc, os, signal, sys
import brimfs

def names():
    place = {store!r}
    return {{name: open(os.path.join(place, name), "rb").read() for name in os.listdir(place)}}

fs = brimfs.FileSystem({store!r}, memory_limit="64MiB", durability={durability!r})
for number in range(20):
    fs.write_bytes(f"/{{number}}", bytes([number]) * 100_000)
fs.sync()
file = fs.open("/handle", "wb")
file.write(b"unsynced")
fs.remove("/3")
{prepare}
before = names()
child = os.fork()
if child == 0:
    signal.alarm(30)
    for call in (fs.sync, file.sync, lambda: fs.write_bytes("/x", b""), lambda: fs.remove("/1")):
        try:
            call()
            os._exit(7)
        except brimfs.Forked:
            pass
    try:
        brimfs.FileSystem({store!r}, memory_limit="64MiB")
        os._exit(8)
    except brimfs.StoreInUse:
        pass
    {child}
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), names() == before)
try:
    brimfs.FileSystem({store!r}, memory_limit="64MiB")
except brimfs.StoreInUse:
    print("still locked")
fs.write_bytes("/after", b"x")
file.close()
fs.close()
"""


@pytest.mark.parametrize("durability", ["manual", "sync"])
@pytest.mark.parametrize(
    "child",
    [
        "sys.exit(0)",
        "os._exit(0)",
        "fs.close(); file.close(); sys.exit(0)",
        "del fs, file; gc.collect(); sys.exit(0)",
        "os.kill(os.getpid(), 9)",
    ],
)
def test_a_forked_child_leaves_the_store_alone(run_script, store, child, durability):
    prepare = "fs.sync()" if durability == "sync" else ""
    source = FORKING.format(store=str(store), child=child, durability=durability, prepare=prepare)
    done = run_script(source)
    status = -9 if "kill" in child else 0
    assert done.stdout.splitlines() == [f"{status} True", "still locked"], done.stderr
    with reopened(store) as fs:
        expected = [str(number) for number in range(20) if number != 3]
        assert fs.listdir("/") == [*expected, "handle", "after"]
        assert fs.read_bytes("/handle") == b"unsynced"
        for number in expected:
            assert fs.read_bytes(f"/{number}") == bytes([int(number)]) * 100_000


WRITER = """
import random, sys
sys.path.insert(0, {tests!r})
import brimfs
from store_oracle import written, put

fs = brimfs.FileSystem(
    {store!r}, memory_limit="16MiB", durability={durability!r}, layout={layout!r}
)
print("open", flush=True)
number = {first}
while True:
    for _ in range(written(number)):
        put(fs, number)
        number += 1
    fs.sync()
    print(number, flush=True)
"""


def acknowledged(process, lines, patience):
    """What the process printed before it was killed, so many seconds after so many lines."""
    told = b""
    while told.count(b"\n") < lines and (more := os.read(process.stdout.fileno(), 65536)):
        told += more
    end = time.monotonic() + patience
    while (left := end - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left)[0]:
            if not (more := os.read(process.stdout.fileno(), 65536)):
                break
            told += more
    assert process.poll() is None
    process.kill()
    while more := os.read(process.stdout.fileno(), 65536):
        told += more
    process.wait()
    # A line without its end was not said.
    return told.decode().split("\n")[:-1]


@pytest.mark.parametrize("layout", ["segments", "mirror"])
def test_killed_at_any_moment(tmp_path, layout):
    """All that was acknowledged is there and whole; what else is there comes right after it."""
    chance = random.Random(SEED)
    done, store = 0, tmp_path / "store"
    for kill in range(KILLS):
        durability = chance.choice(["manual", 0.002, 0.02, "sync"])
        source = WRITER.format(
            tests=os.path.dirname(__file__),
            store=str(store),
            durability=durability,
            layout=layout,
            first=done,
        )
        process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
        # While it starts, right after it opened the store, or at work.
        lines = kill % 3
        told = acknowledged(process, lines, chance.uniform(0, 0.3))
        process.stdout.close()
        synced = int(told[-1]) if len(told) > 1 else done
        reproduce = f"kill {kill} of BRIMFS_SEED={SEED} ({durability}), {synced} acknowledged"
        if layout == "mirror":
            check_host(store, reproduce)
        with reopened(store, layout=layout) as fs:
            done = check(fs, reproduce)
            assert done >= synced, reproduce
            audit(fs)
            if layout == "mirror":
                assert not fs.external_changes().lost, reproduce
                assert check_host(store, reproduce) == done, reproduce
        if done > FILES_MAX:
            done, store = 0, tmp_path / f"store{kill}"
