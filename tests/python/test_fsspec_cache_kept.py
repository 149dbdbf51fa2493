"""`brimcache::` with a store: what is kept, for whom, and what other processes see."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import fsspec
import pytest

import brimfs
from brimfs.fsspec.cache import BrimCacheFileSystem
from cache_calls import KIB, MIB, content, held, within_limits

pytestmark = pytest.mark.usefixtures("no_caches")

OPTIONS = {"memory_limit": 16 * MIB, "disk_limit": 128 * MIB}

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path):
    """A directory of the host, which every process has as the same remote filesystem."""
    directory = tmp_path / "files"
    directory.mkdir()
    for number in range(5):
        (directory / f"{number}").write_bytes(content(number, 50 * KIB))
    return directory


def kept(remote, store, **options):
    options = {**OPTIONS, **options}
    return BrimCacheFileSystem(fs=remote, store=store, skip_instance_cache=True, **options)


# restarts


def test_what_was_fetched_is_there_again(remote, store):
    fs = kept(remote, store)
    for number in range(20):
        remote.put_content(f"d/{number}", content(number, number * KIB))
        fs.cat_file(f"d/{number}")
    before = held(fs)
    fs.close_cache()
    fs.close_cache()
    assert held(fs) == before
    for number in range(20):
        assert fs.cat_file(f"d/{number}") == content(number, number * KIB)
    assert remote.calls["cat"] == 20
    assert fs.cache_stats().hits == 20
    within_limits(fs)


def test_a_change_meanwhile_is_seen(remote, store):
    fs = kept(remote, store)
    for path in ("a", "b", "c"):
        remote.put_content(path, b"old")
        fs.cat_file(path)
    fs.close_cache()
    remote.put_content("a", b"new")
    del remote.files["b"]
    # Whether it was asked for before that is not known any more.
    fs = kept(remote, store, validate=1000)
    assert fs.cat_file("a") == b"new"
    with pytest.raises(FileNotFoundError):
        fs.cat_file("b")
    assert held(fs) == {"a": 3, "c": 3}
    fs.close_cache()
    never = kept(remote, store, validate="never")
    remote.put_content("a", b"newer")
    assert never.cat_file("a") == b"new"


def test_a_write_while_the_cache_is_closed_drops_too(remote, store):
    fs = kept(remote, store, validate="never")
    remote.put_content("a", b"old")
    assert fs.cat_file("a") == b"old"
    file = fs.open("a", "wb")
    assert held(fs) == {}
    fs.cat_file("a")
    file.write(b"new")
    fs.close_cache()
    file.close()
    assert fs.cat_file("a") == b"new"


def test_what_was_read_again_stays_after_a_restart(remote, store):
    fs = kept(remote, store, limit=100 * KIB)
    for number in range(10):
        remote.put_content(f"{number}", content(number, 10 * KIB))
        for _ in range(1 + 3 * (number == 4)):
            fs.cat_file(f"{number}")
    fs.close_cache()
    for number in range(10, 19):
        remote.put_content(f"{number}", content(number, 10 * KIB))
        fs.cat_file(f"{number}")
        within_limits(fs)
    assert "4" in held(fs)


def test_a_lower_limit_drops_what_is_too_much(remote, store):
    fs = kept(remote, store, limit=100 * KIB)
    for number in range(10):
        remote.put_content(f"{number}", content(number, 10 * KIB))
        fs.cat_file(f"{number}")
    fs.close_cache()
    fs = kept(remote, store, limit=55 * KIB)
    assert len(held(fs)) == 5
    within_limits(fs)
    remote.put_content("new", content(0, 10 * KIB))
    assert fs.cat_file("new") == content(0, 10 * KIB)
    within_limits(fs)
    assert len(held(fs)) == 5


def test_many_times_the_disk_limit_passes_through_it(remote, store):
    fs = kept(remote, store, memory_limit=8 * MIB, disk_limit=16 * MIB)
    for number in range(100):
        remote.put_content(f"{number}", content(number, MIB // 2))
        assert fs.cat_file(f"{number}") == content(number, MIB // 2)
        within_limits(fs)
    # More go where the disk is too slow to give room back.
    assert 0 < len(held(fs)) <= 16
    assert fs.cache_stats().evictions >= 84


def damage(store, data):
    """Change some bytes of the file with that content."""
    (place,) = [
        (path, found)
        for path in store.rglob("*")
        if path.is_file() and (found := path.read_bytes().find(data[:100])) >= 0
    ]
    with open(place[0], "r+b") as file:
        file.seek(place[1] + 500)
        file.write(b"damage")


def test_damage_on_the_disk_is_fetched_again(remote, store):
    fs = kept(remote, store)
    data = content(0, MIB)
    remote.put_content("a", data)
    fs.cat_file("a")
    fs.close_cache()
    damage(store, data)
    assert fs.cat_file("a") == data
    stats = fs.cache_stats()
    assert (stats.damaged, stats.fetches) == (1, 1)
    assert fs.cat_file("a") == data
    assert held(fs) == {"a": MIB}


@pytest.mark.parametrize(
    "read",
    [
        lambda file: file.read(1000),
        lambda file: file.readinto(bytearray(1000)),
        lambda file: file.readline(),
        lambda file: next(file),
        lambda file: file.view(),
    ],
)
def test_damage_under_an_open_file_is_an_error_and_fetched_again(remote, store, read):
    fs = kept(remote, store)
    data = content(0, MIB)
    remote.put_content("a", data)
    fs.cat_file("a")
    fs.close_cache()
    damage(store, data)
    with fs.open("a") as file, pytest.raises(OSError) as caught:
        read(file)
    assert caught.value.errno == errno.EIO
    with fs.open("a") as file:
        assert file.read() == data
    assert fs.cache_stats().damaged == 1


def test_a_store_of_something_else_is_refused_and_not_touched(remote, store):
    with brimfs.FileSystem(store) as other:
        other.write_text("/notes", "mine")
    remote.put_content("a", b"a")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"files of its own, such as 'notes'"):
            kept(remote, store).cat_file("a")
    with brimfs.FileSystem(store) as other:
        assert (other.listdir("/"), other.read_text("/notes")) == (["notes"], "mine")


def test_one_store_has_one_set_of_limits(remote, store):
    fs = kept(remote, store)
    remote.put_content("a", b"a")
    fs.cat_file("a")
    with pytest.raises(ValueError, match="close it first"):
        kept(remote, store, limit=MIB).cat_file("a")
    fs.close_cache()
    assert kept(remote, store, limit=MIB).cat_file("a") == b"a"


def test_a_process_that_is_killed_while_it_fetches_leaves_nothing_half(store, files):
    program = f"""
        import os, signal
        import brimfs.fsspec.cache, brimfs.fsspec.cache.remote as remote
        import fsspec
        remote.PIECE = 10_000
        options = dict({OPTIONS!r}, store={os.fspath(store)!r})
        fs = fsspec.filesystem("brimcache", target_protocol="file", **options)
        fs.cat_file({os.fspath(files / "0")!r})
        fs._files._store.sync()
        files = fs._files
        put = files._put
        def dies(partial, piece):
            done = put(partial, piece)
            if partial.size >= 30_000:
                files._store.sync()
                os.kill(os.getpid(), signal.SIGKILL)
            return done
        files._put = dies
        fs.cat_file({os.fspath(files / "1")!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -signal.SIGKILL
    with brimfs.FileSystem(store) as left:
        (part,) = left.scandir("/brimcache-1/fetching")
        assert part.stat().st_size == 30_000
    fs = fsspec.filesystem("brimcache", target_protocol="file", store=store, **OPTIONS)
    assert held(fs) == {os.fspath(files / "0"): 50 * KIB}
    for number in range(5):
        assert fs.cat_file(files / f"{number}") == content(number, 50 * KIB)
    assert fs.cache_stats().hits == 1
    within_limits(fs)


@pytest.mark.parametrize("dies", ["after", "before"])
def test_a_process_that_is_killed_when_it_wrote_left_nothing_old(store, files, dies):
    program = f"""
        import os, signal
        import fsspec
        options = dict({OPTIONS!r}, store={os.fspath(store)!r})
        fs = fsspec.filesystem("brimcache", target_protocol="file", validate="never", **options)
        path = {os.fspath(files / "0")!r}
        fs.cat_file(path)
        fs._files._store.sync()
        pipe = fs.fs.pipe_file
        def dies(*arguments, **keywords):
            pipe(*arguments, **keywords)
            os.kill(os.getpid(), signal.SIGKILL)
        if {dies!r} == "before":
            fs.fs.pipe_file = dies
        fs.pipe_file(path, b"new")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -signal.SIGKILL
    fs = fsspec.filesystem(
        "brimcache", target_protocol="file", store=store, validate="never", **OPTIONS
    )
    assert held(fs) == {}
    assert fs.cat_file(files / "0") == b"new"


# other processes


READ = """
import sys
import fsspec
store, path = sys.argv[1:]
options = {options!r}
with fsspec.open(f"brimcache::file://{{path}}", "rb", brimcache=dict(options, store=store)) as file:
    sys.stdout.buffer.write(file.read())
"""


def read_elsewhere(store, path):
    return subprocess.run(
        [sys.executable, "-c", READ.format(options=OPTIONS), store, path],
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_a_second_process_is_told_who_has_the_store(store, files):
    fs = fsspec.filesystem("brimcache", target_protocol="file", store=store, **OPTIONS)
    assert fs.cat_file(files / "0") == content(0, 50 * KIB)
    refused = read_elsewhere(store, files / "0")
    assert refused.returncode == 1
    message = refused.stderr.decode().splitlines()[-1]
    assert message.startswith("brimfs.StoreInUse") or "StoreInUse" in message
    assert f"process {os.getpid()}" in message
    assert os.fspath(store) in message
    fs.close_cache()
    allowed = read_elsewhere(store, files / "0")
    assert (allowed.returncode, allowed.stdout) == (0, content(0, 50 * KIB))
    # What the other process did is there too.
    assert fs.cat_file(files / "0") == content(0, 50 * KIB)
    assert fs.cache_stats().fetches == 0


def test_a_write_is_refused_before_it_is_made(store, files):
    """Else the cache would keep what is no longer so."""
    fs = fsspec.filesystem("brimcache", target_protocol="file", store=store, **OPTIONS)
    with brimfs.FileSystem(store):
        for write in (
            lambda: fs.pipe_file(files / "0", b"new"),
            lambda: fs.open(files / "0", "wb"),
            lambda: fs.rm(os.fspath(files / "0")),
        ):
            with pytest.raises(brimfs.StoreInUse):
                write()
    assert (files / "0").read_bytes() == content(0, 50 * KIB)


def in_child(work):
    """What `work` says in a forked child."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writable, said.encode())
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_a_cache_of_its_own(remote):
    fs = BrimCacheFileSystem(fs=remote, memory_limit=16 * MIB, skip_instance_cache=True)
    remote.put_content("a", b"a")
    fs.cat_file("a")

    def work():
        assert fs.cat_file("a") == b"a"
        return f"{fs.cache_stats().fetches} {remote.calls['cat']}"

    assert in_child(work) == "1 2"
    assert fs.cat_file("a") == b"a"
    assert (fs.cache_stats().hits, remote.calls["cat"]) == (1, 1)


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_told_that_its_parent_has_the_store(remote, store):
    fs = kept(remote, store)
    remote.put_content("a", b"a")
    fs.cat_file("a")
    said = in_child(lambda: repr(fs.cat_file("a")))
    assert said.startswith("StoreInUse")
    assert f"process {os.getpid()}" in said
    assert fs.cat_file("a") == b"a"
    fs.close_cache()
    assert held(fs) == {"a": 1}


def read_there(fs, path):
    return fs.cat_file(path), fs.cache_stats().fetches, os.getpid()


def test_an_instance_in_another_process_has_its_own_cache(files):
    fs = fsspec.filesystem("brimcache", target_protocol="file", memory_limit=16 * MIB)
    path = os.fspath(files / "0")
    assert fs.cat_file(path) == content(0, 50 * KIB)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        data, fetches, process = pool.submit(read_there, fs, path).result(60)
    assert (data, fetches) == (content(0, 50 * KIB), 1)
    assert process != os.getpid()


def test_fsspec_finds_it_alone(run_script, files):
    done = run_script(
        f"""
        import fsspec
        with fsspec.open("brimcache::file://{files}/0", "rb") as file:
            print(len(file.read()), type(file).__name__, file.fs.cache_stats().fetches)
        """
    )
    assert (done.stdout, done.stderr) == (f"{50 * KIB} CachedFile 1\n", "")


def test_the_end_of_a_process_with_everything_open(run_script, files, store):
    done = run_script(
        f"""
        import fsspec
        fs = fsspec.filesystem("brimcache", target_protocol="file", store={os.fspath(store)!r})
        written = fs.open("{files}/new", "wb")
        written.write(b"new")
        text = fs.open("{files}/text", "w")
        text.write("text")
        read = fs.open("{files}/0")
        """
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (files / "new").read_bytes() == b"new"
    assert (files / "text").read_bytes() == b"text"
    fs = fsspec.filesystem("brimcache", target_protocol="file", store=store)
    assert list(held(fs)) == [os.fspath(files / "0")]


def test_a_version_of_fsspec_without_chains(run_script):
    done = run_script(
        """
        import sys
        sys.modules["fsspec.implementations.chained"] = None
        import brimfs.fsspec
        try:
            import brimfs.fsspec.cache
        except ImportError as error:
            print(error)
        """
    )
    assert (done.stdout, done.stderr) == ("brimcache:: needs fsspec 2025.10 or later\n", "")


def test_the_entry_points():
    from importlib.metadata import entry_points

    (found,) = entry_points(group="fsspec.specs", name="brimcache")
    assert found.load() is BrimCacheFileSystem
    (found,) = entry_points(group="universal_pathlib.implementations", name="brimcache")
    assert found.value == "brimfs.fsspec.cache.paths:BrimCachePath"


def test_a_store_that_cannot_be_made(remote, tmp_path):
    (tmp_path / "file").write_text("in the way")
    fs = kept(remote, Path(tmp_path / "file" / "cache"))
    remote.put_content("a", b"a")
    with pytest.raises(OSError, match="cache") as caught:
        fs.cat_file("a")
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)
