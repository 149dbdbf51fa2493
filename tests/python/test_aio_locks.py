"""How tasks of `brimfs.aio` wait for file locks, and what is left of those that are cancelled."""

from __future__ import annotations

import asyncio
import errno
import threading

import pytest

import brimfs
import brimfs.aio
from brimfs.aio import _threads
from loops import in_loop, until, until_waiting


@in_loop
async def test_the_loop_goes_on_while_tasks_wait_for_a_lock(afs, no_thread):
    await afs.write_bytes("/a", b"old")
    await afs.write_bytes("/c", b"see")
    held = await afs.open("/a", "r+b")
    calls = [
        afs.read_bytes("/a"),
        afs.read_text("/a"),
        afs.view("/a"),
        afs.append_bytes("/a", b"+"),
        afs.copy("/a", "/b"),
        afs.write_bytes("/a", b"new"),
        afs.truncate("/a", 2),
        afs.write_text("/a", "text"),
        afs.copy("/c", "/a"),
    ]
    tasks = []
    for number, call in enumerate(calls, 1):
        tasks.append(asyncio.ensure_future(call))
        await until_waiting(afs, number)
    opened = asyncio.ensure_future(afs.open("/a").__aenter__())
    await until_waiting(afs, 10)
    assert not any(task.done() for task in tasks)
    # Other files are nobody's concern.
    await afs.write_bytes("/other", b"")
    await held.close()
    results = await asyncio.gather(*tasks)
    assert results[0:2] == [b"old", "old"]
    assert bytes(results[2]) == b"old"
    assert results[3:] == [1, "/b", 3, None, 4, "/a"]
    async with await opened as file:
        assert await file.read() == "see"
    assert await afs.read_bytes("/b") == b"old+"
    assert (await afs.stats()).lock_waiters == 0


@in_loop
async def test_tasks_have_their_turn_in_the_order_of_asking(afs, no_thread):
    held = await afs.open("/a", "wb")
    order = []

    async def work(number):
        mode = "rb" if number % 3 == 2 else "ab"
        async with afs.open("/a", mode):
            order.append(number)
            await asyncio.sleep(0)

    tasks = []
    for number in range(12):
        tasks.append(asyncio.create_task(work(number)))
        await until_waiting(afs, number + 1)
    await held.close()
    await asyncio.gather(*tasks)
    assert order == list(range(12))


@in_loop
async def test_readers_do_not_overtake_a_writer_for_ever(afs, no_thread):
    """Tasks of one loop are no one thread that may read again what it reads."""
    await afs.write_bytes("/a", b"")
    readers = [await afs.open("/a", "rb")]
    writer = asyncio.create_task(afs.open("/a", "wb").__aenter__())
    await until_waiting(afs, 1)
    late = asyncio.create_task(afs.open("/a", "rb").__aenter__())
    await until_waiting(afs, 2)
    await readers[0].close()
    file = await writer
    assert not late.done()
    await file.close()
    await (await late).close()


@in_loop
async def test_a_wait_has_a_limit(afs, no_thread):
    held = await afs.open("/a", "wb")
    with pytest.raises(BlockingIOError) as caught:
        await afs.open("/a", "rb", lock_timeout=0)
    assert (caught.value.errno, caught.value.filename) == (errno.EAGAIN, "/a")
    with pytest.raises(brimfs.LockTimeout) as caught:
        await afs.open("/a", "rb", lock_timeout=0.01)
    assert (caught.value.errno, caught.value.filename) == (errno.ETIMEDOUT, "/a")
    assert "held exclusively by thread" in str(caught.value)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await afs.open("/a", lock_timeout=None)
    assert (await afs.stats()).lock_waiters == 0
    await held.close()
    other = brimfs.aio.FileSystem(lock_timeout=0.01, memory_limit="64MiB")
    held = await other.open("/a", "wb")
    for call in (other.read_bytes("/a"), other.write_bytes("/a", b""), other.copy("/a", "/b")):
        with pytest.raises(brimfs.LockTimeout) as caught:
            await call
        assert caught.value.filename == "/a"
    await held.close()
    other.sync_filesystem.close()


@pytest.mark.parametrize("mode", ["rb", "wb", "r", "a"])
@in_loop
async def test_a_cancelled_open_leaves_nothing_behind(afs, no_thread, mode):
    await afs.write_bytes("/a", b"kept")
    held = await afs.open("/a", "r+b")
    opening = asyncio.create_task(afs.open("/a", mode).__aenter__())
    behind = asyncio.create_task(afs.open("/a", "rb").__aenter__())
    await until_waiting(afs, 2)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert (await afs.stats()).lock_waiters == 1
    await held.close()
    async with await behind as file:
        assert await file.read() == b"kept"
    async with afs.open("/a", "r+b", lock_timeout=0):
        pass
    assert (await afs.stats()).open_handles == 0


@in_loop
async def test_a_lock_that_came_with_the_cancellation_goes_on(afs, no_thread):
    """The lock is granted and the task cancelled before it runs again."""
    for _ in range(50):
        held = await afs.open("/a", "wb")
        opening = asyncio.create_task(afs.open("/a", "wb").__aenter__())
        behind = asyncio.create_task(afs.open("/a", "wb").__aenter__())
        await until_waiting(afs, 2)
        await held.close()
        opening.cancel()
        await (await behind).close()
        if not opening.cancelled():
            await (await opening).close()
    assert (await afs.stats()).open_handles == 0


@in_loop
async def test_a_file_that_goes_while_it_is_waited_for(afs, no_thread):
    held = await afs.open("/a", "wb")
    reading = asyncio.create_task(afs.read_bytes("/a"))
    await until_waiting(afs, 1)
    await afs.remove("/a")
    await held.close()
    with pytest.raises(FileNotFoundError):
        await reading


@in_loop
async def test_a_thousand_writers(afs, no_thread):
    await afs.write_bytes("/counter", b"0")

    async def count():
        async with afs.open("/counter", "r+b", lock_timeout=None) as file:
            value = int(await file.read())
            await asyncio.sleep(0)
            await file.seek(0)
            await file.write(b"%d" % (value + 1))

    async def own(number):
        path = f"/d{number % 10}"
        await afs.mkdir(path, exist_ok=True)
        for part in range(3):
            await afs.append_bytes(f"{path}/{number}", b"%d" % part)

    before = threading.active_count()
    held = await afs.open("/counter", "r+b")
    tasks = [asyncio.create_task(count()) for _ in range(1000)]
    tasks += [asyncio.create_task(own(number)) for number in range(1000)]
    await until_waiting(afs, 1000)
    # One listens for all of them.
    assert threading.active_count() <= before + 1
    await held.close()
    await asyncio.gather(*tasks)
    assert await afs.read_bytes("/counter") == b"1000"
    names = [name for number in range(10) for name in await afs.listdir(f"/d{number}")]
    assert sorted(map(int, names)) == list(range(1000))


def test_loops_and_threads_share_a_filesystem(fs):
    """Each thread has a loop; plain threads take part too."""
    fs.write_bytes("/counter", b"0")

    async def work():
        afs = brimfs.aio.FileSystem.over(fs)

        async def count():
            async with afs.open("/counter", "r+b", lock_timeout=None) as file:
                value = int(await file.read())
                await asyncio.sleep(0)
                await file.seek(0)
                await file.write(b"%d" % (value + 1))

        await asyncio.gather(*(count() for _ in range(50)))

    def plain():
        for _ in range(50):
            with fs.open("/counter", "r+b", lock_timeout=None) as file:
                value = int(file.read())
                file.seek(0)
                file.write(b"%d" % (value + 1))

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(3)]
    threads += [threading.Thread(target=plain) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fs.read_bytes("/counter") == b"300"
    assert fs.stats().lock_waiters == 0


@in_loop
async def test_a_task_that_is_cancelled_in_a_thread_ends_when_that_does(afs, monkeypatch):
    """What it opened meanwhile is closed; a call that did not begin does not."""
    begun, go_on = threading.Event(), threading.Event()
    done = []

    def slowly():
        begun.set()
        go_on.wait()
        done.append(True)
        return afs.sync_filesystem.open("/a", "wb")

    task = asyncio.create_task(_threads.in_thread(slowly))
    await until(begun.is_set)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]
    assert (await afs.stats()).open_handles == 0
    go_on.clear()
    busy = [asyncio.create_task(_threads.in_thread(go_on.wait)) for _ in range(_threads._THREADS)]
    await asyncio.sleep(0)
    late = asyncio.create_task(_threads.in_thread(done.append, False))
    await asyncio.sleep(0)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    go_on.set()
    await asyncio.gather(*busy)
    assert done == [True]


@in_loop
async def test_a_handle_that_is_busy_in_a_thread(afs, monkeypatch):
    """Other calls on it wait as tasks, and closing waits in a thread, even if it is cancelled."""
    go_on = threading.Event()
    file = await afs.open("/a", "w+b")
    await file.write(b"abc")
    busy = asyncio.create_task(file._in_turn(go_on.wait))
    await until(file._is_busy)
    telling = asyncio.create_task(file.tell())
    await asyncio.sleep(0.01)
    assert not telling.done()
    closing = asyncio.create_task(file.close())
    await asyncio.sleep(0)
    closing.cancel()
    go_on.set()
    await busy
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(ValueError, match="closed"):
        await telling
    assert (await afs.stats()).open_handles == 0


def test_a_forked_child_starts_anew(run_script):
    done = run_script(
        """
        import asyncio, os, brimfs.aio

        async def work():
            async with brimfs.aio.FileSystem() as fs:
                held = await fs.open("/a", "wb")
                waiting = asyncio.create_task(fs.read_bytes("/a"))
                while not (await fs.stats()).lock_waiters:
                    await asyncio.sleep(0.001)
                await held.close()
                await waiting

        asyncio.run(work())
        child = os.fork()
        if not child:
            asyncio.run(work())
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_end_with_tasks_that_wait(run_script):
    done = run_script(
        """
        import asyncio, brimfs.aio

        async def main():
            fs = brimfs.aio.FileSystem()
            held = await fs.open("/a", "wb")
            task = asyncio.create_task(fs.read_bytes("/a"))
            while not (await fs.stats()).lock_waiters:
                await asyncio.sleep(0.001)
            globals().update(kept=(fs, held, task))

        asyncio.run(main())
        kept[1]._file.close()
        print("end")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


@in_loop
async def test_what_waits_and_what_does_not_is_told_apart_in_the_core(fs):
    """`_at_once` changes nothing where it says that it would have waited."""
    fs.write_bytes("/a", b"old")
    with fs.open("/a", "r+b"):
        for call, args in ((fs.write_bytes, ("/a", b"new")), (fs.open, ("/a", "wb"))):
            how, error = brimfs._brimfs._at_once(call, args, {})
            assert (how, type(error)) == (1, BlockingIOError)
    assert fs.read_bytes("/a") == b"old"
    assert brimfs._brimfs._at_once(fs.read_bytes, ("/a",), {}) == (0, b"old")
