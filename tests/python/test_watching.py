"""Watches in Python: what is told, waiting for it, and what ends it. The model is in Rust."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import threading
from pathlib import Path

import pytest

import brimfs
import brimfs.aio
from loops import in_loop

PAGE = Path(__file__).parents[2] / "docs" / "watching.md"


def told(watch):
    events = []
    while event := watch.read(0):
        events.append((event.kind, event.path))
    return events


def test_what_happens_is_told(fs):
    fs.mkdir("/d")
    with fs.watch("/d") as watch, fs.watch(b"/", recursive=True) as everything:
        fs.write_text("/d/a", "1")
        fs.append_bytes("/d/a", b"2")
        fs.rename("/d/a", "/d/b")
        fs.write_text("/elsewhere", "")
        fs.remove("/d/b")
        created, modified, moved, removed = watch.read(), watch.read(), watch.read(), watch.read()
        assert (created.kind, created.path, created.source) == ("created", "/d/a", None)
        assert (modified.kind, modified.is_directory, modified.dropped) == ("modified", False, 0)
        assert (moved.kind, moved.source, moved.path) == ("moved", "/d/a", "/d/b")
        assert removed._asdict() == {
            "kind": "removed", "path": "/d/b", "source": None, "is_directory": False, "dropped": 0,
        }  # fmt: skip
        assert repr(moved) == "<brimfs.Event moved '/d/a' -> '/d/b'>"
        assert watch.read(0) is None
        assert watch.read(timeout=0.01) is None
        assert ("created", b"/elsewhere") in told(everything)
    assert watch.closed
    assert list(watch) == []
    assert repr(watch) == "<closed brimfs.Watch '/d'>"


def test_what_is_dropped_is_counted(fs):
    watch = fs.watch(capacity=2)
    for number in range(5):
        fs.touch(f"/{number}")
    watch.read()
    watch.read()
    dropped = watch.read()
    assert (dropped.kind, dropped.dropped, dropped.path) == ("dropped", 3, None)
    assert repr(dropped) == "<brimfs.Event dropped 3>"


def test_what_is_spilled_is_told(spilling):
    spilling.write_bytes("/a", bytes(100_000))
    watch = spilling.watch()
    spilling.gc(0.0)
    assert told(watch) == [("spilled", "/a")]


@pytest.mark.parametrize("layout", ["segments", "mirror"])
def test_a_persistent_filesystem_is_watched(tmp_path, layout):
    with brimfs.FileSystem(tmp_path, layout=layout) as fs:
        fs.write_text("/a", "1")
    with brimfs.FileSystem(tmp_path, layout=layout) as fs:
        watch = fs.watch()
        fs.read_text("/a")
        fs.sync()
        assert told(watch) == [], "what comes from the disk and goes there changes nothing"
        fs.append_bytes("/a", b"2")
        fs.rename("/a", "/b")
        fs.sync()
    assert told(watch) == [("modified", "/a"), ("moved", "/b")]


def test_waiting_and_closing(fs):
    watch = fs.watch()
    events = []

    def read():
        events.extend(watch)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(100):
        fs.touch(f"/{number}")
    fs.close()
    thread.join()
    assert [event.path for event in events] == [f"/{number}" for number in range(100)]


def test_restore_transactions_and_trees_are_told(fs, tmp_path):
    fs.write_text("/a", "1")
    before = fs.snapshot()
    watch = fs.watch("/", recursive=True)
    with fs.transaction() as tx:
        tx.write_text("/a", "2")
        tx.mkdir("/d")
        tx.write_text("/d/b", "3")
    assert sorted(told(watch)) == [("created", "/d"), ("created", "/d/b"), ("modified", "/a")]
    fs.restore(before)
    assert sorted(told(watch)) == [("modified", "/a"), ("removed", "/d")]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_text("x")
    fs.import_tree(tmp_path / "in", "/in")
    # It is made aside, and gets its name when it is whole.
    assert told(watch)[-1] == ("moved", "/in")
    before.close()


def test_errors(fs):
    with pytest.raises(FileNotFoundError) as caught:
        fs.watch("/missing")
    assert caught.value.filename == "/missing"
    for capacity in (0, -1):
        with pytest.raises(ValueError, match=f"1 or more events, not {capacity}"):
            fs.watch(capacity=capacity)
    with pytest.raises(brimfs.ReadOnly, match="never changes"):
        fs.snapshot().watch()
    with pytest.raises(ValueError, match="timeout"):
        fs.watch().read(-1)
    with pytest.raises(TypeError):
        brimfs.Watch()
    fs.close()
    with pytest.raises(ValueError, match="closed"):
        fs.watch()


def test_a_watch_that_nobody_has_any_more_costs_nothing():
    fs = brimfs.FileSystem(memory_limit="64MiB")
    for number in range(100):
        fs.touch(f"/{number}")
    before = fs.stats().resident
    watch = fs.watch()
    assert fs.stats().resident >= before + 100 * 96
    fs._audit()
    del watch
    gc.collect()
    assert fs.stats().resident == before


def test_control_c_ends_the_wait(run_script):
    done = run_script(
        """
        import _thread, brimfs, threading, time
        fs = brimfs.FileSystem()
        threading.Timer(0.2, _thread.interrupt_main).start()
        try:
            fs.watch().read()
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "interrupted", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_gets_an_error(run_script):
    done = run_script(
        """
        import os, brimfs
        fs = brimfs.FileSystem()
        watch = fs.watch()
        if (child := os.fork()) == 0:
            try:
                watch.read()
            except brimfs.Forked:
                os._exit(7)
            os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert (done.returncode, done.stdout.strip()) == (0, "7")


@in_loop
async def test_tasks_wait_without_threads(afs):
    watch = await afs.watch("/", recursive=True)
    before = threading.active_count()
    reading = asyncio.create_task(watch.read())
    await asyncio.sleep(0.01)
    assert not reading.done()
    await afs.write_bytes("/a", b"x")
    assert (await reading).path == "/a"
    assert threading.active_count() <= before + 1
    assert await watch.read(0.01) is None
    # Cancelling loses nothing.
    reading = asyncio.create_task(watch.read())
    await asyncio.sleep(0.01)
    reading.cancel()
    await afs.write_bytes("/b", b"x")
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (await watch.read(0)).path == "/b"

    async def collect():
        return [event.path async for event in watch]

    collecting = asyncio.create_task(collect())
    for number in range(200):
        await asyncio.to_thread(afs.sync_filesystem.touch, f"/{number}")
    await afs.close()
    assert await collecting == [f"/{number}" for number in range(200)]
    assert watch.closed
    with pytest.raises(ValueError, match="timeout"):
        await watch.read(-1)


def test_the_snippets_run(run_script):
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) == 2
    done = run_script("\n".join(snippets))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "created /inbox/a.csv",
        "moved /inbox/a.csv -> /inbox/done",
        "created /orders",
        "created /orders/1",
    ]
