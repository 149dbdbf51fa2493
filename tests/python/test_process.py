"""What a process does to a filesystem: forking, signals, exit."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys

import pytest

import brimfs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")


def in_child(work) -> bytes:
    """What work() prints in a forked child, which has 30 seconds for it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            signal.alarm(30)
            os.write(writing, work())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, answer
    return answer


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_gets_an_error_from_every_call(fs):
    fs.write_bytes("/a", b"x" * 5000)
    fs.write_bytes("/small", b"x")
    fs.mkdir("/d")
    file = fs.open("/a", "rb")
    other = fs.open("/b", "wb")
    view = fs.view("/a")
    assert fs.exists("/a")
    assert fs.listdir("/")
    calls = {
        "exists": lambda: fs.exists("/a"),
        "is_file": lambda: fs.is_file("/a"),
        "read_bytes": lambda: fs.read_bytes("/a"),
        "read_bytes small": lambda: fs.read_bytes("/small"),
        "write_bytes": lambda: fs.write_bytes("/a", b"y" * 5000),
        "open": lambda: fs.open("/a", "rb"),
        "open text": lambda: fs.open("/a"),
        "listdir": lambda: fs.listdir("/"),
        "scandir": lambda: fs.scandir("/"),
        "stat": lambda: fs.stat("/a"),
        "mkdir": lambda: fs.mkdir("/x"),
        "remove": lambda: fs.remove("/small"),
        "rename": lambda: fs.rename("/a", "/z"),
        "glob": lambda: fs.glob("*"),
        "view": lambda: fs.view("/a"),
        "copy": lambda: fs.copy("/a", "/z"),
        "rmtree": lambda: fs.rmtree("/d"),
        "file.read": lambda: file.read(10),
        "file.read all": lambda: file.read(),
        "file.readline": lambda: file.readline(),
        "file.write": lambda: other.write(b"x"),
    }

    def child() -> bytes:
        wrong = []
        for name, call in calls.items():
            try:
                call()
                wrong.append(name)
            except brimfs.Forked as error:
                if error.errno != 6:
                    wrong.append(f"{name}: {error.errno}")
            except BaseException as error:
                wrong.append(f"{name}: {error!r}")
        repr(fs)
        fs.stats()
        assert bytes(view[:3]) == b"xxx"
        # The child can have a filesystem of its own.
        with brimfs.FileSystem(memory_limit="64MiB") as own:
            own.write_bytes("/a", b"y" * 5000)
            assert own.read_bytes("/a") == b"y" * 5000
        file.close()
        fs.close()
        gc.collect()
        return "\n".join(wrong).encode() or b"fine"

    assert in_child(child) == b"fine"
    assert file.read(1) == b"x"
    file.close()
    other.close()
    assert fs.read_bytes("/a") == b"x" * 5000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_busy_parent_does_not_hang(fs):
    import threading

    fs.write_bytes("/a", bytes(1_000_000))
    stop = threading.Event()

    def busy():
        number = 0
        while not stop.is_set():
            number += 1
            fs.write_bytes(f"/n{number % 50}", bytes(200_000))
            fs.copy("/a", "/b")

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):

            def child() -> bytes:
                try:
                    fs.read_bytes("/a")
                except brimfs.Forked:
                    with brimfs.FileSystem(memory_limit="64MiB") as own:
                        own.write_bytes("/a", bytes(1_000_000))
                        own.remove("/a")
                    return b"fine"
                return b"no error"

            assert in_child(child) == b"fine"
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pool_of_forked_workers_ends_well(fs):
    fs.write_bytes("/a", b"x")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
        pool.close()
        pool.join()


SIGNALLED = """
import os, signal, sys, threading, time
import brimfs

fs = brimfs.FileSystem(lock_timeout={timeout}, memory_limit="64MiB")
fs.write_bytes("/a", b"x" * 5000)
ready = threading.Event()
release = threading.Event()

def hold():
    with fs.open("/a", "r+b"):
        ready.set()
        release.wait()

holder = threading.Thread(target=hold)
holder.start()
ready.wait()

def shoot():
    while fs.stats().lock_waiters == 0:
        time.sleep(0.001)
    time.sleep(0.05)
    global shot
    shot = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=shoot).start()
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - shot < 5)
release.set()
holder.join()
print(fs.stats().lock_waiters, fs.read_bytes("/a") == b"x" * 5000)
"""


@pytest.mark.parametrize("timeout", ["None", "60"])
@pytest.mark.parametrize(
    "call",
    [
        'fs.open("/a", "rb")',
        'fs.open("/a", "w")',
        'fs.read_bytes("/a")',
        'fs.write_bytes("/a", b"y")',
        'fs.truncate("/a", 0)',
        'fs.copy("/a", "/b")',
    ],
)
def test_control_c_ends_a_wait_for_a_lock(run_script, call, timeout):
    done = run_script(SIGNALLED.format(call=call, timeout=timeout))
    assert done.stdout.splitlines() == ["interrupted True", "0 True"], done.stderr


def test_a_handler_that_returns_does_not_end_the_wait(run_script):
    done = run_script(
        """
        import os, signal, threading, time
        import brimfs

        fs = brimfs.FileSystem(lock_timeout=60, memory_limit="64MiB")
        fs.write_bytes("/a", b"")
        held = fs.open("/a", "wb")
        calls = []

        def handler(*_):
            # The filesystem can be used here.
            calls.append(fs.exists("/a"))
            if len(calls) == 3:
                held.write(b"end")
                held.close()

        signal.signal(signal.SIGUSR1, handler)

        def shoot():
            while fs.stats().lock_waiters == 0:
                time.sleep(0.001)
            for number in range(3):
                os.kill(os.getpid(), signal.SIGUSR1)
                while len(calls) == number:
                    time.sleep(0.001)

        # The lock is held by another thread, or the wait would be for itself.
        thread = threading.Thread(target=shoot)
        held.close()
        ready = threading.Event()

        def hold():
            global held
            held = fs.open("/a", "wb")
            ready.set()

        holder = threading.Thread(target=hold)
        holder.start()
        ready.wait()
        thread.start()
        print(fs.read_bytes("/a"), calls)
        thread.join()
        """
    )
    assert done.stdout == "b'end' [True, True, True]\n", done.stderr


def test_exit_with_everything_open(run_script):
    done = run_script(
        """
        import atexit, threading, time
        import brimfs

        fs = brimfs.FileSystem(memory_limit="256MiB")
        other = brimfs.FileSystem(memory_limit="64MiB")
        content = bytes(5_000_000)
        fs.write_bytes("/adopted", content)
        fs.write_bytes("/copied", bytearray(5_000_000))
        fs.exists("/adopted"), fs.listdir("/")
        view = fs.view("/adopted")
        memory = memoryview(fs.view("/copied"))
        file = fs.open("/adopted", "rb")
        text = fs.open("/text", "w")
        text.write("x" * 100_000)

        def forever():
            number = 0
            while True:
                number += 1
                other.write_bytes(f"/n{number % 10}", bytes(100_000))
                other.read_bytes(f"/n{number % 10}")

        def waiting():
            with fs.open("/text", "rb", lock_timeout=None):
                pass

        for work in (forever, forever, waiting):
            threading.Thread(target=work, daemon=True).start()
        while fs.stats().lock_waiters == 0:
            time.sleep(0.001)

        class Late:
            def __del__(self):
                # Long after the filesystems were closed.
                try:
                    fs.exists("/adopted")
                except ValueError:
                    print("closed")

        late = Late()
        print("end")
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "end"
    assert "Fatal" not in done.stderr
    assert "panicked" not in done.stderr


@pytest.mark.parametrize("round_", range(3))
def test_exit_with_daemon_threads_in_calls(run_script, round_):
    done = run_script(
        """
        import threading, time
        import brimfs

        fs = brimfs.FileSystem(memory_limit="1GiB")
        content = bytearray(30_000_000)

        def work(index):
            while True:
                try:
                    fs.write_bytes(f"/n{index}", content)
                    fs.read_bytes(f"/n{index}")
                except ValueError:
                    pass

        for index in range(4):
            threading.Thread(target=work, args=(index,), daemon=True).start()
        time.sleep(0.2)
        print("end")
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "end\n"
    assert done.stderr == ""


def test_what_the_last_reference_holds_is_freed():
    source = bytes(5000)
    fs = brimfs.FileSystem(memory_limit="64MiB")
    fs.write_bytes("/a", source)
    before = sys.getrefcount(source)
    del fs
    gc.collect()
    assert sys.getrefcount(source) == before - 1


def test_a_file_that_is_collected_in_a_cycle(fs):
    class Box:
        pass

    box = Box()
    box.me = box
    box.file = fs.open("/a", "wb")
    del box
    with pytest.warns(ResourceWarning):
        gc.collect()
    assert fs.stats().open_handles == 0


def test_the_memory_guard_can_be_chosen():
    for guard in ("off", "warn", "refuse"):
        with brimfs.FileSystem(memory_guard=guard, memory_limit="64MiB") as fs:
            fs.write_bytes("/a", bytes(1_000_000))
            assert fs.read_bytes("/a") == bytes(1_000_000)
