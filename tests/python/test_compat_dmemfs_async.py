"""The asyncio face of dmemfs."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from brimfs.compat.dmemfs import (
    AsyncMemoryFileHandle,
    AsyncMemoryFileSystem,
    MemoryFileSystem,
    MFSQuotaExceededError,
)


def run(program):
    async def limited():
        async with asyncio.timeout(60):
            await program

    asyncio.run(limited())


def test_every_method_is_a_coroutine():
    skipped = {"iter_export_tree", "view"}
    for name, method in inspect.getmembers(MemoryFileSystem, inspect.isfunction):
        if not name.startswith("_") and name not in skipped:
            face = getattr(AsyncMemoryFileSystem, name)
            assert inspect.iscoroutinefunction(face), name
            assert list(inspect.signature(face).parameters) == list(
                inspect.signature(method).parameters
            )
    assert str(inspect.signature(AsyncMemoryFileSystem)) == str(inspect.signature(MemoryFileSystem))


def test_a_program():
    async def program():
        fs = AsyncMemoryFileSystem(1 << 24, default_lock_timeout=0.01)
        await fs.mkdir("/d")
        async with await fs.open("/d/a", "wb") as file:
            assert isinstance(file, AsyncMemoryFileHandle)
            assert await file.write(b"hello") == 5
            assert await file.seek(1) == 1
            assert await file.tell() == 1
            assert await file.truncate(4) == 4
            await file.flush()
            assert (await file.readable(), await file.writable()) == (False, True)
            assert await file.seekable()
            with pytest.raises(BlockingIOError):
                await fs.open("/d/a")
        with pytest.raises(ValueError):
            await file.read()
        large = bytes(1_000_000)
        async with await fs.open("/large", "xb") as file:
            await file.write(large)
        async with await fs.open("/large") as file:
            assert await file.read(10) == bytes(10)
            assert await file.read() == large[10:]
        await file.close()
        assert await fs.walk() == [("/", ["d"], ["large"]), ("/d", [], ["a"])]
        await fs.copy("/large", "/copy")
        await fs.copy_tree("/d", "/e")
        await fs.move("/copy", "/x/copy")
        await fs.rename("/e", "/f")
        await fs.import_tree({"/i": b"1"})
        assert await fs.glob("/**/a") == ["/d/a", "/f/a"]
        assert (await fs.export_as_bytesio("/i")).read() == b"1"
        assert await fs.export_tree("/d") == {"/d/a": b"hell"}
        assert (await fs.exists("/i"), await fs.is_dir("/d"), await fs.is_file("/d")) == (
            True,
            True,
            False,
        )
        assert (await fs.get_size("/i"), (await fs.stat("/i"))["size"]) == (1, 1)
        await fs.remove("/i")
        await fs.rmtree("/x")
        assert await fs.listdir("/") == ["d", "large", "f"]
        assert (await fs.stats())["file_count"] == 3
        with pytest.raises(FileNotFoundError):
            await fs.open("/none")
        with pytest.raises(ValueError):
            await fs.open("/none", "w")
        with pytest.raises(MFSQuotaExceededError):
            await fs.import_tree({"/huge": bytes(1 << 25)})

    run(program())


def test_waiting_for_a_lock_leaves_the_loop_free():
    async def program():
        fs = AsyncMemoryFileSystem()
        writer = await fs.open("/a", "wb")
        reading = asyncio.create_task(fs.open("/a"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not reading.done()
        await fs.mkdir("/b")
        await writer.write(b"1")
        await writer.close()
        async with await reading as file:
            assert await file.read() == b"1"

    run(program())


def test_a_cancelled_open_leaves_nothing_behind():
    async def program():
        fs = AsyncMemoryFileSystem()
        writer = await fs.open("/a", "wb")
        waiting = asyncio.create_task(fs.open("/a"))
        granted = asyncio.create_task(fs.open("/a"))
        for _ in range(10):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        # The lock is handed over, and then nobody wants it any more.
        await writer.close()
        granted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await granted
        await fs.remove("/a")

    run(program())


def test_a_loop_that_ends_while_one_waits_keeps_no_lock():
    fs = AsyncMemoryFileSystem()
    writer = None
    loop = asyncio.new_event_loop()

    async def start():
        nonlocal writer
        writer = await fs.open("/a", "wb")
        task = asyncio.ensure_future(fs.open("/a"))
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(start())
    task._log_destroy_pending = False
    loop.close()
    asyncio.run(writer.close())
    asyncio.run(fs.remove("/a"))
    del task
