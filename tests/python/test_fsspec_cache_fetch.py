"""How files come into `brimcache::`: whole or not at all, and once for all who ask."""

from __future__ import annotations

import errno
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cache_calls import KIB, cached, content, held, within_limits
from counted_remote import PIECE, Counted

pytestmark = pytest.mark.usefixtures("no_caches")


# fetches that do not go well


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("size", [5000, 4000, 6000])
def test_a_file_that_changes_while_it_is_fetched_is_fetched_again(pieces, size, sized):
    remote = Counted(sized=sized)
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))

    def change(path, position):
        if position >= 2 * PIECE:
            remote.hook = None
            remote.put_content("a", content(1, size))

    remote.hook = change
    assert fs.cat_file("a") == content(1, size)
    stats = fs.cache_stats()
    assert (stats.changed, stats.fetches) == (1, 1)
    assert held(fs) == {"a": size}


def test_a_file_that_changes_all_the_time_is_an_error(remote, pieces):
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))
    remote.hook = lambda path, position: remote.put_content(path, content(position, 5000))
    with pytest.raises(OSError, match="changed each of the 5 times") as caught:
        fs.open("a")
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, "a")
    assert held(fs) == {}


def test_a_file_that_is_cut_short_on_its_way_is_an_error(remote):
    fs = cached(remote)
    remote.put_content("a", content(0, 500))
    remote.cat_file = lambda path, **_: content(0, 400)
    with pytest.raises(OSError, match="says 500 bytes and sends 400") as caught:
        fs.cat_file("a")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, "a")
    assert held(fs) == {}


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("error", [OSError(errno.ECONNRESET, "gone"), ValueError(), Interrupted()])
@pytest.mark.parametrize("at", [0, 2 * PIECE])
def test_a_fetch_that_fails_leaves_nothing(pieces, error, at, sized):
    remote = Counted(sized=sized)
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))

    def fail(path, position):
        if position == at:
            raise error

    remote.hook = fail
    for _ in range(2):
        with pytest.raises(type(error)):
            fs.cat_file("a")
        assert held(fs) == {}
    remote.hook = None
    assert fs.cat_file("a") == content(0, 5000)
    assert held(fs) == {"a": 5000}


def test_a_file_that_is_removed_while_it_is_fetched_is_not_there(remote):
    fs = cached(remote)
    remote.put_content("a", b"a")
    remote.hook = lambda path, _: remote.files.pop(path)
    with pytest.raises(FileNotFoundError):
        fs.cat_file("a")
    assert held(fs) == {}


# threads


def test_threads_that_want_a_file_share_a_fetch(remote):
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))
    arrived = threading.Condition()
    info = remote.info

    def counting(path, **kwargs):
        with arrived:
            found = info(path, **kwargs)
            arrived.notify_all()
        return found

    def wait_for_all(path, position):
        with arrived:
            assert arrived.wait_for(lambda: remote.calls["info"] >= 8, timeout=60)

    remote.info = counting
    remote.hook = wait_for_all
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(fs.cat_file, ["a"] * 8)) == {content(0, 5000)}
    assert remote.calls["cat"] == 1
    stats = fs.cache_stats()
    assert (stats.hits + stats.misses, stats.fetches) == (8, 1)


@pytest.mark.parametrize("error", [OSError(errno.ECONNRESET, "gone"), Interrupted()])
def test_threads_that_wait_for_a_fetch_that_fails(remote, error):
    """They get its error, or fetch themselves if it was interrupted."""
    fs = cached(remote)
    remote.put_content("a", b"a")
    leads, failing = threading.Event(), threading.Event()

    def fail(path, position):
        remote.hook = None
        leads.set()
        assert failing.wait(60)
        raise error

    remote.hook = fail
    outcomes = []

    def read():
        try:
            outcomes.append(fs.cat_file("a"))
        except BaseException as caught:
            outcomes.append(caught)

    threads = [threading.Thread(target=read)]
    threads[0].start()
    assert leads.wait(60)
    (flight,) = fs._files._flights.values()
    threads.append(threading.Thread(target=read))
    waits = threading.Event()
    result = flight.result
    flight.result = lambda: (waits.set(), result())[1]
    threads[1].start()
    assert waits.wait(60)
    failing.set()
    for thread in threads:
        thread.join()
    assert outcomes.count(error) == (2 if isinstance(error, Exception) else 1)
    assert outcomes.count(b"a") == 2 - outcomes.count(error)
    assert fs.cat_file("a") == b"a"
    held(fs)


def test_threads_that_read_write_and_evict(remote):
    """What a thread reads is never older than what was there when it asked, and always whole."""
    fs = cached(remote, limit=64 * KIB)
    paths = [f"{number}" for number in range(20)]

    def made(version, size):
        return b"%06d" % version * (size // 6)

    for path in paths:
        remote.put_content(path, made(0, 6 * KIB))
    written = dict.fromkeys(paths, 0)
    locks = {path: threading.Lock() for path in paths}

    def work(seed):
        draw = random.Random(seed)
        for _ in range(300):
            path = draw.choice(paths)
            if draw.random() < 0.1:
                with locks[path]:
                    written[path] += 1
                    version = written[path]
                    fs.pipe_file(path, made(version, draw.choice((3, 6, 9)) * KIB))
                continue
            if not locks[path].acquire(blocking=False):
                continue
            locks[path].release()
            before = written[path]
            try:
                found = fs.open(path).read() if draw.random() < 0.5 else fs.cat_file(path)
            except OSError as error:
                # Somebody wrote each time it was fetched.
                if error.errno != errno.ESTALE:
                    raise
                continue
            version = int(found[:6])
            assert found == made(version, len(found))
            assert version >= before - 1
            within_limits(fs)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    for path in paths:
        assert fs.cat_file(path) == remote.content(path)
    held(fs)


def test_who_waits_for_a_fetch_gets_nothing_older_than_he_asked_for(remote):
    """The file changes after the last look of whoever fetches it, before another one asks."""
    fs = cached(remote)
    remote.put_content("a", b"old")
    files = fs._files
    keep, waits = files._keep, threading.Event()
    found = []

    def keep_late(*arguments):
        files._keep = keep
        remote.put_content("a", b"new")
        (flight,) = files._flights.values()
        result = flight.result
        flight.result = lambda: (waits.set(), result())[1]
        thread = threading.Thread(target=lambda: found.append(fs.cat_file("a")))
        thread.start()
        # The lock is held here: let go of it until the other one waits for this fetch.
        files._lock.release()
        assert waits.wait(60)
        files._lock.acquire()
        found.append(thread)
        return keep(*arguments)

    files._keep = keep_late
    assert fs.cat_file("a") == b"old"
    found[0].join()
    assert found[1:] == [b"new"]
    assert held(fs) == {"a": 3}
