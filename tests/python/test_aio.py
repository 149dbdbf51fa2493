"""`brimfs.aio`: what is done at once, what in a thread, and that it is all there."""

from __future__ import annotations

import asyncio
import errno
import inspect
import io
import threading

import pytest

import brimfs
import brimfs.aio
from cold import MIB, audit, content, fill, is_cold
from loops import in_loop, until_waiting


@in_loop
async def test_what_is_in_memory_is_done_without_a_thread(afs, no_thread):
    await afs.mkdir("/d/e", parents=True)
    assert await afs.write_bytes("/d/a", b"x" * 5000, priority=7) == 5000
    assert await afs.read_bytes("/d/a") == b"x" * 5000
    assert await afs.append_bytes("/d/a", bytearray(b"yz")) == 2
    assert await afs.write_text("/d/t", "one\ntwo\n") == 8
    assert await afs.read_text("/d/t") == "one\ntwo\n"
    assert (await afs.stat("/d/a")).st_size == 5002
    assert await afs.listdir("/d") == ["e", "a", "t"]
    assert await afs.listdir(b"/d") == [b"e", b"a", b"t"]
    assert await afs.copy("/d/a", "/d/e") == "/d/e/a"
    await afs.rename("/d/e/a", "/d/b")
    assert await afs.move("/d/b", "/d/e") == "/d/e/b"
    await afs.symlink("/d/a", "/l")
    assert await afs.readlink("/l") == "/d/a"
    assert await afs.realpath("/l") == "/d/a"
    await afs.setxattr("/d/a", "user.k", b"v")
    assert await afs.getxattr("/d/a", "user.k") == b"v"
    await afs.truncate("/d/a", 3)
    assert bytes(await afs.view("/d/a")) == b"xxx"
    assert (await afs.get_priority("/d/a"), await afs.is_pinned("/d/a")) == (7, False)
    await afs.remove("/l")
    assert await afs.exists("/d/a")
    assert not await afs.exists("/l")
    async with await afs.open("/d/a", "r+b") as file:
        assert await file.read() == b"xxx"
        assert await file.seek(1) == 1
        assert await file.write(b"12345") == 5
        assert await file.truncate(4) == 4
        assert await file.tell() == 6
        await file.seek(0)
        into = bytearray(10)
        assert (await file.readinto(into), bytes(into[:4])) == (4, b"x123")
        assert bytes(await file.view()) == b"x123"
        await file.flush()
    async with afs.open("/d/t") as file:
        assert [line async for line in file] == ["one\n", "two\n"]
    found = [(path, dirs, files) async for path, dirs, files in afs.walk("/d")]
    assert found == [("/d", ["e"], ["a", "t"]), ("/d/e", [], ["b"])]
    assert [entry.name async for entry in afs.scandir("/d")] == ["e", "a", "t"]
    assert (await afs.stats()).open_handles == 0


@in_loop
async def test_what_takes_long_goes_to_a_thread(afs, jobs):
    large = bytearray(2 * MIB)
    await afs.write_bytes("/large", large)
    assert len(jobs) == 1
    assert await afs.read_bytes("/large") == large
    assert len(jobs) == 2
    async with afs.open("/large", "r+b") as file:
        assert await file.write(large) == 2 * MIB
        await file.seek(0)
        assert await file.readinto(large) == 2 * MIB
        await file.seek(0)
        assert await file.read() == large
        assert len(await file.view()) == 2 * MIB
    assert len(await afs.view("/large")) == 2 * MIB
    assert len(jobs) == 7
    await afs.mkdir("/src")
    await afs.rename("/large", "/src/large")
    await afs.copytree("/src", "/copy")
    await afs.sync()
    assert sorted(await afs.glob("/**/large")) == ["/copy/large", "/src/large"]
    await afs.rmtree("/copy")
    assert len(jobs) == 11
    # It is handed back as it is.
    await afs.write_bytes("/adopted", bytes(2 * MIB))
    before = len(jobs)
    await afs.read_bytes("/adopted")
    assert len(jobs) == before


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_surface_is_the_same():
    for name in public(brimfs.FileSystem):
        mine, theirs = getattr(brimfs.aio.FileSystem, name), getattr(brimfs.FileSystem, name)
        if not callable(theirs):
            assert isinstance(mine, property), name
            continue
        assert mine.__doc__, name
        wanted = inspect.signature(theirs).parameters
        assert list(inspect.signature(mine).parameters) == list(wanted), name
        if name not in ("open", "scandir", "transaction", "walk"):
            assert inspect.iscoroutinefunction(mine), name
        if name in ("listdir", "scandir", "walk"):
            continue
        for parameter in inspect.signature(mine).parameters.values():
            if parameter.name == "self":
                continue
            assert parameter.kind == wanted[parameter.name].kind, (name, parameter)
            if parameter.name not in ("lock_timeout", "since", "to"):
                assert parameter.default == wanted[parameter.name].default, (name, parameter)
    mine = inspect.signature(brimfs.aio.FileSystem).parameters
    theirs = inspect.signature(brimfs.FileSystem).parameters
    assert {name: value.default for name, value in mine.items()} == {
        name: value.default for name, value in theirs.items()
    }
    for kind in ("Preload", "Transaction", "Watch"):
        for name in public(getattr(brimfs, kind)):
            assert hasattr(getattr(brimfs.aio, kind), name), (kind, name)


def test_the_surface_of_files_is_the_same():
    for name in public(brimfs.File):
        mine, theirs = getattr(brimfs.aio.File, name), getattr(brimfs.File, name)
        if not callable(theirs):
            assert isinstance(mine, property), name
            continue
        wanted = list(inspect.signature(theirs).parameters)
        assert list(inspect.signature(mine).parameters) == wanted, name
    # What is left out changes how a wrapper lies on its buffer.
    for name in public(io.TextIOWrapper) - {"detach", "reconfigure"}:
        assert hasattr(brimfs.aio.TextFile, name), name


@in_loop
async def test_errors_are_the_same(afs, no_thread):
    with pytest.raises(FileNotFoundError) as caught:
        await afs.read_bytes("/missing")
    assert caught.value.filename == "/missing"
    with pytest.raises(FileNotFoundError):
        await afs.open("/missing", "rb")
    with pytest.raises(FileNotFoundError):
        await afs.open("/missing")
    await afs.mkdir("/d")
    with pytest.raises(IsADirectoryError):
        await afs.read_text("/d")
    with pytest.raises(FileExistsError):
        await afs.mkdir("/d")
    with pytest.raises(brimfs.InvalidPath):
        await afs.stat("/../a/\0")
    with pytest.raises(TypeError):
        await afs.read_bytes()
    with pytest.raises(TypeError):
        await afs.write_bytes("/a", "text")
    for mode in ("z", "rw", "rbt", "zb"):
        with pytest.raises(ValueError, match="mode"):
            await afs.open("/a", mode)
    for arguments in ({"encoding": "no-such"}, {"newline": "x"}, {"buffering": 0}):
        with pytest.raises((LookupError, ValueError)):
            await afs.open("/created", "w", **arguments)
    assert not await afs.exists("/created")
    with pytest.raises(FileNotFoundError):
        async for _ in afs.scandir("/missing"):
            pass
    told = []
    assert [level async for level in afs.walk("/missing", onerror=told.append)] == []
    assert isinstance(told[0], FileNotFoundError)


@in_loop
async def test_over_the_quota():
    async with brimfs.aio.FileSystem(quota=1000, spill_dir=False) as afs:
        with pytest.raises(brimfs.QuotaExceeded) as caught:
            await afs.write_bytes("/a", b"x" * 1001)
        assert (caught.value.errno, caught.value.limit) == (errno.ENOSPC, 1000)
        async with afs.open("/a", "wb") as file:
            with pytest.raises(brimfs.QuotaExceeded):
                await file.write(b"x" * 1001)
    assert afs.closed
    with pytest.raises(ValueError, match="closed"):
        await afs.exists("/a")


@in_loop
async def test_what_is_on_the_disk_is_read_by_a_thread(spilling, jobs):
    afs = brimfs.aio.FileSystem.over(spilling)
    paths = fill(spilling, 50, 20_000)
    await afs.gc(0.0)
    jobs.clear()
    assert is_cold(spilling, paths[7])
    assert await afs.read_bytes(paths[7]) == content(7, 20_000)
    assert len(jobs) == 1
    async with afs.open(paths[8], "rb") as file:
        assert await file.read(100) == content(8, 20_000)[:100]
        assert len(jobs) == 2
    async with afs.open(paths[9], "r+b") as file:
        await file.seek(5)
        assert await file.write(b"hello") == 5
    changed = content(9, 20_000)[:5] + b"hello" + content(9, 20_000)[10:]
    assert await afs.read_bytes(paths[9]) == changed
    preload = await afs.preload(paths, priority=3)
    assert await preload.wait()
    assert (preload.result().files, preload.done()) == (50, True)
    jobs.clear()
    read = [await afs.read_bytes(path) for path in paths[10:]]
    assert read == [content(number, 20_000) for number in range(10, 50)]
    assert jobs == []


@in_loop
async def test_ten_times_the_memory_in_many_tasks(spilling):
    afs = brimfs.aio.FileSystem.over(spilling)

    async def work(number):
        path, data = f"/f{number}", content(number, 400_000)
        async with afs.open(path, "wb") as file:
            for start in range(0, len(data), 50_000):
                await file.write(data[start : start + 50_000])
        assert await afs.read_bytes(path) == data
        async with afs.open(path, "ab") as file:
            await file.write(b"end")
        async with afs.open(path, "rb") as file:
            pieces = [await file.read(90_000) for _ in range(5)]
        assert b"".join(pieces) == data + b"end"

    await asyncio.gather(*(work(number) for number in range(400)))
    stats = await afs.stats()
    assert stats.cold_files > 200
    assert stats.open_handles == 0
    audit(spilling)


@in_loop
async def test_text_that_has_to_come_from_the_disk(spilling):
    """A read that has to wait half way loses nothing."""
    afs = brimfs.aio.FileSystem.over(spilling)
    lines = [f"{number} – {'x' * (number % 70)}\n" for number in range(20_000)]
    await afs.write_text("/t", "".join(lines))
    found = []
    async with afs.open("/t") as file:
        async for line in file:
            found.append(line)
            if len(found) % 1000 == 0:
                await afs.gc(0.0)
    assert found == lines


@in_loop
async def test_waiting_for_a_lock_and_then_for_the_disk(spilling):
    afs = brimfs.aio.FileSystem.over(spilling)
    await afs.write_bytes("/a", content(1, 100_000))
    held = await afs.open("/a", "r+b")
    readers = [asyncio.create_task(afs.read_bytes("/a")) for _ in range(3)]
    await until_waiting(afs, 3)
    await afs.gc(0.0)
    await held.close()
    assert await asyncio.gather(*readers) == [content(1, 100_000)] * 3


@in_loop
async def test_a_filesystem_with_a_store(tmp_path, jobs):
    async with await brimfs.aio.open_filesystem(tmp_path / "s", durability="sync") as afs:
        await afs.write_bytes("/a", b"kept")
        async with afs.open("/t", "w") as file:
            await file.write("lines\n")
            await file.sync()
        held = await afs.open("/a", "r+b")
        waiting = asyncio.create_task(afs.append_bytes("/a", b"!"))
        await until_waiting(afs, 1)
        await held.close()
        await waiting
        jobs.clear()
        assert await afs.read_bytes("/a") == b"kept!"
        assert jobs == []
        snapshot = await afs.snapshot()
        await afs.remove("/a")
        assert (await afs.diff(snapshot)).removed == ("/a",)
        await afs.restore(snapshot)
        await snapshot.close()
    async with await brimfs.aio.open_filesystem(tmp_path / "s", read_only=True) as afs:
        assert await afs.read_bytes("/a") == b"kept!"
        assert await afs.read_text("/t") == "lines\n"
        with pytest.raises(brimfs.ReadOnly):
            await afs.write_bytes("/b", b"")


@in_loop
async def test_a_mirror(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").write_text("host")
    async with await brimfs.aio.open_filesystem(tmp_path / "m", layout="mirror") as afs:
        held = await afs.open("/a", "r+b")
        reading = asyncio.create_task(afs.read_text("/a"))
        await until_waiting(afs, 1)
        await held.close()
        assert await reading == "host"
        await afs.write_text("/b", "ours")
        assert [path async for path, _, _ in afs.walk()] == ["/"]
        assert [entry.name async for entry in afs.scandir()] == ["a", "b"]
        await afs.refresh()
        assert (await afs.external_changes()).lost == 0
    assert (tmp_path / "m" / "b").read_text() == "ours"


@in_loop
async def test_transactions(afs):
    await afs.write_text("/stock", "10")
    async with afs.transaction() as tx:
        await tx.write_text("/stock", "9")
        await tx.write_text("/order", "1")
        assert not await afs.exists("/order")
    assert (await afs.read_text("/stock"), await afs.read_text("/order")) == ("9", "1")
    with pytest.raises(brimfs.Conflict) as caught:
        async with afs.transaction() as tx:
            await tx.write_text("/stock", "8")
            await afs.write_text("/stock", "7")
    assert caught.value.filename == "/stock"
    with pytest.raises(ZeroDivisionError):
        async with afs.transaction() as tx:
            await tx.remove("/stock")
            raise ZeroDivisionError
    assert tx.closed
    begun = await afs.transaction()
    await begun.files.write_text("/stock", "6")
    await begun.commit()
    await begun.rollback()
    assert await afs.read_text("/stock") == "6"
    assert (await afs.usage()).private >= 0
    with pytest.raises(ValueError, match="has not begun"):
        await afs.transaction().commit()


@in_loop
async def test_a_transaction_waits_for_a_lock_and_leaves_the_disk_to_its_holder(spilling):
    afs = brimfs.aio.FileSystem.over(spilling)
    await afs.write_bytes("/a", content(1, 100_000))
    await afs.write_bytes("/cold", content(2, 100_000))
    held = await afs.open("/a", "r+b")

    async def change(number):
        async with afs.transaction() as tx:
            await tx.write_bytes(f"/new{number}", b"")
            await tx.truncate("/a", number)

    changes = [asyncio.create_task(change(number)) for number in range(1, 21)]
    await until_waiting(afs, 20)
    await afs.gc(0.0)
    assert await afs.read_bytes("/cold") == content(2, 100_000)
    await held.close()
    done = await asyncio.gather(*changes, return_exceptions=True)
    assert done.count(None) == 1
    assert sum(isinstance(error, brimfs.Conflict) for error in done) == 19


@in_loop
async def test_archives_and_trees(afs, tmp_path):
    await afs.mkdir("/d")
    for number in range(20):
        await afs.write_bytes(f"/d/{number}", content(number, 10_000))
    told = []
    packed = await afs.archive("/d", "/d.tar", progress=lambda *news: told.append(news))
    assert (packed.files, len(told)) == (20, 21)
    async with afs.open("/d.tar", "rb") as stream:
        assert (await afs.extract(stream, "/from-stream")).files == 20
    async with afs.open("/e.zip", "wb") as stream:
        await afs.archive(["/d"], target=stream, format="zip")
    assert (await afs.extract("/e.zip", "/e")).files == 20
    assert await afs.read_bytes("/e/d/7") == content(7, 10_000)
    await afs.export_tree("/d", tmp_path / "d")
    await afs.import_tree(tmp_path / "d", "/again", filter=lambda name, is_dir: name != "3")
    assert len(await afs.listdir("/again")) == 19
    with pytest.raises(brimfs.Cancelled):
        await afs.extract("/e.zip", "/never", progress=lambda *news: False)
    with pytest.raises(TypeError):
        await afs.extract("/e.zip", "/never", progress=1)
    assert not await afs.exists("/never")


@in_loop
async def test_a_cancelled_task_stops_its_extraction(afs):
    await afs.mkdir("/d")
    for number in range(50):
        await afs.write_bytes(f"/d/{number}", b"x")
    await afs.archive("/d", "/d.tar")
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    told = []

    def progress(*news):
        told.append(news)
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()

    task = asyncio.create_task(afs.extract("/d.tar", "/e", progress=progress))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(told) == 1
    assert await afs.listdir("/") == ["d", "d.tar"]
