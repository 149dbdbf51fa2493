"""The stores behind `brim://`: names, options, threads, other processes."""

from __future__ import annotations

import doctest
import gc
import multiprocessing
import os
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points

import fsspec
import pytest

import brimfs
import brimfs.fsspec
from brimfs.fsspec import stores


@pytest.fixture(autouse=True)
def empty():
    brimfs.fsspec.clear()
    yield
    brimfs.fsspec.clear()


# finding it


def test_the_entry_points():
    (found,) = entry_points(group="fsspec.specs", name="brim")
    assert found.load() is brimfs.fsspec.BrimFileSystem
    (found,) = entry_points(group="universal_pathlib.implementations", name="brim")
    assert found.value == "brimfs.fsspec.paths:BrimPath"


def test_fsspec_finds_it_alone(run_script):
    done = run_script(
        """
        import fsspec
        with fsspec.open("brim://s/a", "w") as file:
            file.write("text")
        filesystem, path = fsspec.url_to_fs("brim://s/a")
        print(type(filesystem).__name__, path, filesystem.cat(path))
        """
    )
    assert (done.stdout, done.stderr) == ("BrimFileSystem s/a b'text'\n", "")


def test_the_error_without_fsspec(run_script):
    done = run_script(
        """
        import sys
        import brimfs
        sys.modules["fsspec"] = None
        try:
            import brimfs.fsspec
        except ImportError as error:
            print(error)
        """
    )
    assert "pip install 'brimfs[fsspec]'" in done.stdout
    assert done.stderr == ""


def test_brimfs_alone_does_not_load_fsspec(run_script):
    done = run_script("import sys, brimfs; print('fsspec' in sys.modules)")
    assert done.stdout == "False\n"


def test_the_example_of_the_module_runs():
    result = doctest.testmod(brimfs.fsspec)
    assert (result.failed, result.attempted > 0) == (0, True)


# names


def test_each_name_is_a_store_of_its_own(brim):
    brim.pipe_file("brim://one/a", b"1")
    brim.pipe_file("brim://two/a", b"2")
    assert (brim.cat("one/a"), brim.cat("two/a")) == (b"1", b"2")
    assert brim.ls("brim://", detail=False) == ["one", "two"]
    assert brim.find("") == ["one/a", "two/a"]
    brim.rm("one", recursive=True)
    assert brim.find("") == ["two/a"]


def test_reading_makes_no_store(brim):
    for call in (brim.cat_file, brim.info, brim.ls, brim.open, brim.rm, brim.rmdir, brim.checksum):
        with pytest.raises(FileNotFoundError, match="has no store 'none': 'brim://none/a'"):
            call("brim://none/a")
    with pytest.raises(FileNotFoundError):
        brim.open("none/a", "r+b")
    assert not brim.exists("none/a")
    assert brim.find("none") == brim.glob("none/*") == []
    brim.pipe_file("s/a", b"")
    for call in (brim.cp_file, brim.copy, brim.mv):
        with pytest.raises(FileNotFoundError):
            call("s/none", "none/a")
    assert brim.ls("") == [{"name": "s", "size": 0, "type": "directory"}]


def test_every_way_of_writing_makes_a_store(brim):
    brim.touch("touch/a")
    brim.mkdir("mkdir")
    brim.makedirs("makedirs/a")
    brim.write_text("text/a", "text")
    brim.open("open/a", "xb").close()
    brim.cp_file("text/a", "copy/a")
    names = ["copy", "makedirs", "mkdir", "open", "text", "touch"]
    assert brim.ls("", detail=False) == names
    with pytest.raises(FileExistsError, match="brim://mkdir"):
        brim.mkdir("mkdir")
    brim.makedirs("mkdir", exist_ok=True)


def test_stores_go_when_they_are_removed(brim):
    brim.pipe_file("s/d/a", b"a")
    with pytest.raises(OSError, match="brim://s/"):
        brim.rmdir("s")
    with pytest.raises(IsADirectoryError):
        brim.rm("s")
    native = brimfs.fsspec.store("s")
    brim.rm("s", recursive=True)
    assert not brim.exists("s")
    assert native.stats().files == 0
    brim.mkdir("s")
    brim.rmdir("s")
    assert not brim.exists("s")


@pytest.mark.parametrize("path", ["./a", "../a"])
def test_names_that_are_none(brim, path):
    with pytest.raises(ValueError):
        brim.pipe_file(path, b"")
    assert brim.ls("") == []


@pytest.mark.parametrize("path", ["", "brim://"])
def test_all_stores_together_are_no_file(brim, path):
    for call in (brim.cat_file, brim.open, brim.rm_file, brim.rm):
        with pytest.raises(IsADirectoryError, match="brim://"):
            call(path)
    with pytest.raises(IsADirectoryError):
        brim.pipe_file(path, b"")
    with pytest.raises(FileExistsError):
        brim.mkdir(path)


def test_paths_in_all_their_forms(brim):
    brim.pipe_file("brim://s/d/a", b"a")
    for path in ("s/d/a", "/s/d/a", "brim://s/d/a", "brim://s//d/./a", "brim://s/d/x/../a/"):
        if "x" in path:
            brim.mkdir("s/d/x")
        assert brim.cat_file(path) == b"a"
    assert brim._strip_protocol(["brim://s/a/", "t"]) == ["s/a", "t"]
    assert brim.unstrip_protocol("s/a") == "brim://s/a"
    assert brim._parent("brim://s/a") == "s"
    assert brim._parent("s") == ""


# how long they live


def test_a_store_outlives_every_instance(brim):
    brim.pipe_file("s/a", b"a")
    brimfs.fsspec.BrimFileSystem.clear_instance_cache()
    gc.collect()
    assert fsspec.filesystem("brim").cat("s/a") == b"a"


def test_clear_forgets(brim):
    for name in ("one", "two", "three"):
        brim.pipe_file(f"{name}/a", b"a")
    brimfs.fsspec.clear("one")
    brimfs.fsspec.clear("none")
    assert brim.ls("", detail=False) == ["three", "two"]
    gone = weakref.ref(brimfs.fsspec.store("two"))
    brimfs.fsspec.clear()
    assert brim.ls("") == []
    assert gone() is None
    with pytest.raises(FileNotFoundError, match="brim://two"):
        brimfs.fsspec.store("two")


def test_an_open_file_outlives_its_name(brim):
    brim.pipe_file("s/a", b"content")
    with brim.open("s/a") as file:
        brimfs.fsspec.clear()
        assert file.read() == b"content"
    assert not brim.exists("s/a")


def test_a_filesystem_gets_a_name(brim, tmp_path):
    with brimfs.FileSystem(tmp_path / "kept", quota="1MiB") as native:
        brimfs.fsspec.register("kept", native)
        brimfs.fsspec.register("kept", native)
        assert brimfs.fsspec.store("kept") is native
        brim.pipe_file("kept/a", b"a")
        assert native.read_bytes("/a") == b"a"
        with brimfs.FileSystem() as other, pytest.raises(FileExistsError, match="brim://kept"):
            brimfs.fsspec.register("kept", other)
        with pytest.raises(ValueError, match="quota"):
            fsspec.filesystem("brim", quota="2MiB").cat("kept/a")
        assert fsspec.filesystem("brim", quota="1MiB").cat("kept/a") == b"a"
        for name in ("", ".", "..", "a/b"):
            with pytest.raises(ValueError):
                brimfs.fsspec.register(name, native)
        brimfs.fsspec.clear("kept")
        assert native.read_bytes("/a") == b"a"
    with brimfs.FileSystem(tmp_path / "kept") as native:
        assert native.read_bytes("/a") == b"a"


# options


def test_options_are_those_of_the_store_that_is_made(tmp_path):
    filesystem = fsspec.filesystem(
        "brim",
        quota="1MiB",
        memory_limit="64MiB",
        max_nodes=10,
        spill_dir=tmp_path,
        disk_limit=1 << 30,
    )
    filesystem.mkdir("s")
    stats = brimfs.fsspec.store("s").stats()
    assert (stats.quota_limit, stats.memory_limit, stats.max_nodes) == (1 << 20, 64 << 20, 10)
    with pytest.raises(brimfs.QuotaExceeded, match="brim://s/a"):
        filesystem.pipe_file("s/a", bytes((1 << 20) + 1))


def test_options_that_contradict_are_refused(brim):
    limited = fsspec.filesystem("brim", quota="1MiB")
    limited.pipe_file("limited/a", b"a")
    brim.pipe_file("plain/a", b"a")
    assert brim.cat("limited/a") == b"a"
    assert fsspec.filesystem("brim", quota=1 << 20).cat("limited/a") == b"a"
    other = fsspec.filesystem("brim", quota="2MiB")
    calls = [
        lambda: other.cat("limited/a"),
        lambda: other.pipe_file("limited/a", b""),
        lambda: other.open("limited/a"),
        lambda: other.open("limited/b", "wb"),
        lambda: other.ls("limited"),
        lambda: other.exists("limited/a"),
        lambda: fsspec.filesystem("brim", memory_limit=0.5).cat("limited/a"),
        lambda: fsspec.filesystem("brim", spill_dir=False).cat("plain/a"),
        lambda: fsspec.open("brim://limited/a", "rb", quota="2MiB").open(),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"brim://(limited|plain) exists with"):
            call()
    with pytest.raises(ValueError, match=r"quota=1048576, and quota=2097152 was asked for"):
        other.cat("limited/a")
    with pytest.raises(ValueError, match=r"no quota, and quota=1048576 was asked for"):
        limited.cat("plain/a")
    brimfs.fsspec.clear("limited")
    other.pipe_file("limited/a", b"a")
    assert brimfs.fsspec.store("limited").stats().quota_limit == 2 << 20


def test_options_that_are_none():
    with pytest.raises(TypeError, match="memorylimit"):
        fsspec.filesystem("brim", memorylimit="1GiB")
    with pytest.raises(ValueError):
        fsspec.filesystem("brim", quota="much").mkdir("s")
    with pytest.raises(ValueError):
        fsspec.filesystem("brim", memory_limit=-1).mkdir("s")
    assert fsspec.filesystem("brim").ls("") == []


def test_instances_are_cached():
    assert fsspec.filesystem("brim") is fsspec.filesystem("brim")
    assert fsspec.filesystem("brim") != fsspec.filesystem("brim", quota="1MiB")
    assert fsspec.filesystem("brim", skip_instance_cache=True) is not fsspec.filesystem("brim")


# threads


def test_threads_meet_in_one_store():
    threads, files = 8, 50
    barrier = threading.Barrier(threads)

    def work(thread):
        filesystem = fsspec.filesystem("brim", quota="64MiB")
        barrier.wait()
        for number in range(files):
            filesystem.pipe_file(f"shared/d{number}/{thread}", b"%d %d" % (thread, number))
            with filesystem.open(f"shared/aside{number % 3}/{thread}", "wb", autocommit=False) as f:
                f.write(b"aside")
            f.commit()
        return id(brimfs.fsspec.store("shared"))

    with ThreadPoolExecutor(threads) as pool:
        assert len(set(pool.map(work, range(threads)))) == 1
    filesystem = fsspec.filesystem("brim")
    assert len(filesystem.find("shared")) == threads * files + 3 * threads
    assert brimfs.fsspec.store("shared").listdir("/").count(".brim-staged") == 0
    for number in range(files):
        for thread in range(threads):
            content = filesystem.cat_file(f"shared/d{number}/{thread}")
            assert content == b"%d %d" % (thread, number)


def test_threads_race_to_make_and_to_forget():
    stop = threading.Event()

    def forget():
        while not stop.is_set():
            brimfs.fsspec.clear("s")

    thread = threading.Thread(target=forget)
    thread.start()
    try:
        filesystem = fsspec.filesystem("brim")
        for number in range(500):
            filesystem.pipe_file(f"s/{number}", b"x")
            # The name may go meanwhile; then it is missing, and nothing else.
            try:
                assert filesystem.cat_file(f"s/{number}") == b"x"
            except FileNotFoundError:
                continue
    finally:
        stop.set()
        thread.join()
    assert set(stores._made_with) == set(stores.stores)


# other processes


def test_an_instance_pickles_to_its_stores(brim):
    brim.pipe_file("s/a", b"a")
    again = pickle.loads(pickle.dumps(brim))
    assert again is brim
    limited = fsspec.filesystem("brim", quota="1MiB")
    limited.mkdir("t")
    again = pickle.loads(pickle.dumps(limited))
    assert again.exists("t")
    with pytest.raises(ValueError):
        again.cat("s/a")
    assert fsspec.AbstractFileSystem.from_json(brim.to_json()).cat("s/a") == b"a"


def in_another_process(pickled):
    """What an instance does that was sent here."""
    filesystem = pickle.loads(pickled)
    told = []
    for call in (
        lambda: filesystem.cat_file("s/a"),
        lambda: filesystem.pipe_file("s/a", b"lost"),
        lambda: filesystem.open("s/b", "wb"),
        lambda: pickle.loads(pickle.dumps(filesystem)).mkdir("s/d"),
    ):
        try:
            call()
            told.append("no error")
        except FileNotFoundError as error:
            told.append(str(error))
    fsspec.filesystem("brim").pipe_file("s/a", b"made here")
    told.append(filesystem.cat_file("s/a").decode())
    return told


def test_an_instance_in_another_process_makes_no_store(brim):
    brim.pipe_file("s/a", b"a")
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        told = pool.apply(in_another_process, (pickle.dumps(brim),))
    assert "has no store 's': 'brim://s/a'" in told[0]
    for text in told[1:4]:
        assert "comes from another process makes none: 'brim://s/" in text
    assert told[4] == "made here"
    assert brim.cat_file("s/a") == b"a"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_gets_an_error(run_script):
    done = run_script(
        """
        import os, threading, warnings
        warnings.simplefilter("ignore")
        import fsspec, brimfs, brimfs.fsspec
        parents = fsspec.filesystem("brim")
        parents.pipe_file("s/a", b"a")
        held, done = threading.Event(), threading.Event()

        def hold():
            with brimfs.fsspec.stores._lock, brimfs.fsspec.staging._lock:
                held.set()
                done.wait()

        # Nobody holds the locks in the child, whatever other threads of the parent are about.
        threading.Thread(target=hold).start()
        held.wait()
        child = os.fork()
        done.set()
        if not child:
            try:
                parents.pipe_file("new/a", b"lost")
            except FileNotFoundError as error:
                assert "comes from another process" in str(error), error
            else:
                os._exit(3)
            filesystem = fsspec.filesystem("brim")
            for call in (filesystem.cat_file, filesystem.info, filesystem.open, filesystem.touch):
                try:
                    call("s/a")
                except brimfs.Forked as error:
                    assert "brim://s/a" in str(error), error
                else:
                    os._exit(1)
            brimfs.fsspec.clear()
            filesystem.pipe_file("s/a", b"child")
            os._exit(0 if filesystem.cat_file("s/a") == b"child" else 2)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), fsspec.filesystem("brim").cat("s/a"))
        """
    )
    assert (done.stdout, done.stderr) == ("0 b'a'\n", "")
