"""`brimcache::`: what is read, what counts as changed, what is written, which options there are."""

from __future__ import annotations

import errno
import io
import os
import pickle
import threading
import zipfile

import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.spec import AbstractBufferedFile

from brimfs.fsspec.cache import BrimCacheFileSystem
from cache_calls import MIB, cached, content, held
from counted_remote import Counted

pytestmark = pytest.mark.usefixtures("no_caches")


# reading


def test_a_file_is_fetched_once(remote):
    fs = cached(remote)
    data = content(0, 5000)
    remote.put_content("d/a", data)
    for _ in range(3):
        assert fs.cat_file("d/a") == fs.cat("d/a") == fs.read_bytes("counted://d/a") == data
        assert fs.cat("brimcache://d/a") == data
        with fs.open("brimcache::counted://d/a") as file:
            assert (file.read(10), file.tell(), file.size) == (data[:10], 10, 5000)
            assert (file.path, file.mode, file.original) == ("d/a", "rb", "d/a")
            assert file.full_name == "brimcache://d/a"
            assert file.info()["ETag"] == 0
    assert remote.calls["cat"] == 1
    stats = fs.cache_stats()
    assert (stats.hits, stats.misses, stats.fetches, stats.fetched) == (14, 1, 1, 5000)
    assert held(fs) == {"d/a": 5000}


def test_what_was_fetched_whole_is_handed_out_without_a_copy(remote):
    fs = cached(remote)
    remote.put_content("a", content(0, 5000))
    assert fs.cat_file("a") is fs.cat_file("a")


@pytest.mark.parametrize(
    ("start", "end"), [(0, 3), (2, None), (None, 4), (-3, None), (None, -3), (-5, -2), (8, 99)]
)
def test_parts_are_what_slices_are(remote, start, end):
    fs = cached(remote)
    remote.put_content("a", b"0123456789")
    assert fs.cat_file("a", start, end) == b"0123456789"[start:end]
    assert fs.cat_ranges(["a"], start, end) == [b"0123456789"[start:end]]
    assert remote.calls["cat"] == 1


def test_many_ranges_are_of_one_version(remote):
    fs = cached(remote)
    remote.put_content("a", b"0123456789")
    remote.put_content("b", b"abcdefghij")
    found = fs.cat_ranges(["a", "b", "counted://a", "none"], [0, 2, -2, 0], [2, 4, None, 1])
    assert found[:3] == [b"01", b"cd", b"89"]
    assert isinstance(found[3], FileNotFoundError)
    # The version is asked for once for each file, and again after the fetch.
    assert remote.calls["info"] == 2 + 2 + 1
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["none"], 0, 1, on_error="raise")
    with pytest.raises(TypeError):
        fs.cat_ranges("a", 0, 1)
    with pytest.raises(ValueError):
        fs.cat_ranges(["a"], [0, 1], 1)


@pytest.mark.parametrize("wrap", [lambda remote: remote, AsyncFileSystemWrapper])
def test_many_files_at_once(remote, wrap):
    fs = cached(wrap(remote))
    for number in range(20):
        remote.put_content(f"d/{number:02}", content(number, 100))
    expected = {f"d/{number:02}": content(number, 100) for number in range(20)}
    assert fs.cat("d/*") == fs.cat("d", recursive=True) == fs.cat(list(expected)) == expected
    assert remote.calls["cat"] == 20
    assert fs.cat_ranges(list(expected), 0, 10) == [each[:10] for each in expected.values()]
    remote.put_content("d/e/f", b"deep")
    assert fs.cat("d", recursive=True, maxdepth=1) == expected
    assert fs.cat("d", recursive=True)["d/e/f"] == b"deep"
    del remote.files["d/e/f"]
    del remote.files["d/07"]
    paths = ["d/06", "d/07"]
    assert fs.cat(paths, on_error="omit") == {"d/06": expected["d/06"]}
    assert isinstance(fs.cat(paths, on_error="return")["d/07"], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat(paths)
    assert len(held(fs)) == 19 + 1


def test_an_async_remote(remote, pieces):
    fs = cached(AsyncFileSystemWrapper(remote))
    remote.put_content("d/a", content(0, 5000))
    assert fs.cat("d/a") == fs.open("d/a").read() == content(0, 5000)
    fs.pipe("d/a", b"new")
    assert fs.cat("d/a") == b"new"
    assert fs.find("d") == ["d/a"]
    with pytest.raises(ValueError, match="asynchronous"):
        cached(AsyncFileSystemWrapper(remote, asynchronous=True))


def test_get_head_tail_and_blocks(remote, tmp_path):
    fs = cached(remote)
    remote.put_content("d/a", b"one\ntwo\nthree\n")
    remote.put_content("d/e/b", b"b")
    fs.get("d/", str(tmp_path / "copy"), recursive=True)
    assert (tmp_path / "copy/a").read_bytes() == b"one\ntwo\nthree\n"
    assert (tmp_path / "copy/e/b").read_bytes() == b"b"
    target = io.BytesIO()
    fs.get_file("d/a", target)
    assert target.getvalue() == b"one\ntwo\nthree\n"
    assert fs.head("d/a", 3) == b"one"
    assert fs.tail("d/a", 6) == b"three\n"
    assert fs.read_block("d/a", 2, 4, b"\n") == b"two\n"
    assert fs.read_text("d/a").splitlines() == ["one", "two", "three"]
    assert remote.calls["cat"] == 2


def test_names_are_the_remotes(remote):
    fs = cached(remote)
    remote.put_content("d/a", b"a")
    remote.put_content("d/e/b", b"bb")
    assert fs.ls("brimcache::counted://d", detail=False) == ["d/a", "d/e"]
    assert fs.glob("d/**") == ["d", "d/a", "d/e", "d/e/b"]
    assert fs.find("d") == ["d/a", "d/e/b"]
    assert list(fs.walk("d")) == [("d", ["e"], ["a"]), ("d/e", [], ["b"])]
    assert fs.info("d/a") == remote.info("d/a")
    assert (fs.size("d/e/b"), fs.sizes(["d/a"]), fs.du("d")) == (2, [1], 3)
    assert fs.exists("d/a")
    assert fs.isfile("d/a")
    assert fs.isdir("d")
    assert not fs.exists("none")
    assert fs.ukey("d/a") == ""
    assert fs.unstrip_protocol("d/a") == "brimcache://d/a"
    assert held(fs) == {}
    with pytest.raises(IsADirectoryError):
        fs.cat_file("d")
    with pytest.raises(FileNotFoundError):
        fs.open("none")
    mapper = fs.get_mapper("d")
    assert mapper["e/b"] == b"bb"
    mapper["c"] = b"c"
    assert mapper.getitems(["a", "c"]) == {"a": b"a", "c": b"c"}


def test_text_and_compression(remote):
    fs = cached(remote)
    with fs.open("a.gz", "w", compression="infer", encoding="utf-16") as file:
        file.write("ä\n")
    for _ in range(2):
        with fs.open("a.gz", "r", compression="infer", encoding="utf-16") as file:
            assert list(file) == ["ä\n"]
    assert remote.calls["cat"] == 1


def test_a_chain_goes_on_behind_and_before(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner.txt", "text")
    options = {"memory_limit": 16 * MIB}
    for url in (f"zip://inner.txt::brimcache::file://{tmp_path}/a.zip",
                f"brimcache::zip://inner.txt::file://{tmp_path}/a.zip"):  # fmt: skip
        for _ in range(2):
            with fsspec.open(url, "r", brimcache=options) as file:
                assert file.read() == "text"
    fs, _ = fsspec.url_to_fs(f"brimcache::file://{tmp_path}/a.zip", brimcache=options)
    assert sorted(os.path.basename(path) for path in held(fs)) == ["a.zip", "inner.txt"]


def test_an_option_of_the_remote_alone_is_read_past_the_cache(remote):
    fs = cached(remote)
    remote.put_content("a", b"a")
    assert fs.cat_file("a", version_id="1") == b"a"
    assert fs.open("a", version_id="1").read() == b"a"
    assert fs.cat_ranges(["a"], 0, 1, version_id="1") == [b"a"]
    assert held(fs) == {}
    assert fs.open("a", cache_type="none").read() == b"a"
    assert held(fs) == {"a": 1}


def test_files_with_a_cache_of_their_own_are_asked_for_each_byte_once():
    data = content(0, 9 * MIB + 5)
    asked = []

    class Buffered(Counted):
        def _open(self, path, mode="rb", block_size=None, **kwargs):
            return BufferedFile(self, path, mode, 1 << 16, size=len(data))

    class BufferedFile(AbstractBufferedFile):
        def _fetch_range(self, start, end):
            asked.append((start, end))
            return data[start:end]

    remote = Buffered()
    remote.put_content("a", data)
    fs = cached(remote, limit=16 * MIB)
    assert fs.cat_file("a") == data
    assert asked == [(0, 4 * MIB), (4 * MIB, 8 * MIB), (8 * MIB, 9 * MIB + 5)]


def test_from_http_a_file_is_streamed_by_one_request(pieces):
    asked = []

    class Http(Counted):
        protocol = ("http", "https")

        def _open(self, path, mode="rb", block_size=None, **kwargs):
            asked.append(block_size)
            return super()._open(path, mode)

    remote = Http()
    remote.put_content("host/a", content(0, 5000))
    assert cached(remote).cat_file("http://host/a") == content(0, 5000)
    assert asked == [0]


# validation


@pytest.mark.parametrize(
    "remote", [Counted(), Counted(tells="LastModified"), Counted(tells=None), Counted(sized=False),
               Counted(listings=True)]
)  # fmt: skip
def test_a_change_of_the_remote_is_seen(remote):
    fs = cached(remote)
    for number in range(3):
        remote.put_content("a", content(number, 100))
        assert fs.cat_file("a") == content(number, 100)
        assert fs.cat_file("a", 5, 10) == content(number, 100)[5:10]
    assert fs.cache_stats().fetches == 3
    assert held(fs) == {"a": 100}


def test_what_the_remote_lost_is_lost(remote):
    fs = cached(remote)
    remote.put_content("a", b"a")
    assert fs.cat_file("a") == b"a"
    del remote.files["a"]
    with pytest.raises(FileNotFoundError):
        fs.cat_file("a")
    assert held(fs) == {}


def test_never_asks_nobody(remote):
    fs = cached(remote, validate="never")
    remote.put_content("a", b"old")
    assert fs.cat_file("a") == b"old"
    calls = dict(remote.calls)
    remote.put_content("a", b"new")
    assert fs.cat_file("a") == fs.open("a").read() == b"old"
    assert remote.calls == calls
    fs.pop_from_cache("counted://a")
    fs.pop_from_cache("none")
    assert fs.cat_file("a") == b"new"
    del remote.files["a"]
    assert fs.cat_file("a") == b"new"


def test_seconds(remote, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("brimfs.fsspec.cache.files.time.monotonic", lambda: now)
    fs = cached(remote, validate=10)
    remote.put_content("a", b"old")
    assert fs.cat_file("a") == b"old"
    remote.put_content("a", b"new")
    now += 10
    assert fs.cat_file("a") == b"old"
    now += 1
    assert fs.cat_file("a") == b"new"
    remote.put_content("a", b"last")
    now += 9
    assert fs.cat_file("a") == b"new"
    remote.put_content("b", b"b")
    fs.cat_file("b")
    asked = []
    for _ in range(9):
        now += 4
        before = remote.calls["info"]
        fs.cat_file("b")
        asked.append(remote.calls["info"] - before)
    assert asked == [0, 0, 1] * 3
    # One that asks more often shares the cache.
    assert cached(remote).cat_file("a") == b"last"
    assert fs.cat_file("a") == b"last"


@pytest.mark.parametrize("validate", ["sometimes", -1, True, None])
def test_what_is_no_policy(remote, validate):
    with pytest.raises(ValueError, match="validate is"):
        cached(remote, validate=validate)


# writing


def test_writes_go_to_the_remote_and_drop_the_old(remote, tmp_path):
    fs = cached(remote, validate="never")
    (tmp_path / "local").write_bytes(b"local")
    writes = [
        (lambda: fs.pipe_file("d/a", b"1"), b"1"),
        (lambda: fs.pipe({"d/a": b"2"}), b"2"),
        (lambda: fs.pipe("counted://d/a", b"3"), b"3"),
        (lambda: fs.write_text("d/a", "4"), b"4"),
        (lambda: fs.put_file(str(tmp_path / "local"), "d/a"), b"local"),
        (lambda: remote.put_content("d/b", b"5") or fs.cp_file("d/b", "d/a"), b"5"),
        (lambda: fs.put(str(tmp_path / "local"), "d/a"), b"local"),
        (lambda: remote.put_content("d/b", b"6") or fs.copy("d/b", "d/a"), b"6"),
        (lambda: remote.put_content("d/b", b"7") or fs.mv("d/b", "d/a"), b"7"),
        (lambda: remote.put_content("e/a", b"8") or fs.mv("e", "d", recursive=True), b"8"),
        (lambda: fs.touch("d/a"), b""),
    ]
    for write, expected in writes:
        write()
        assert fs.cat_file("d/a") == remote.content("d/a") == expected
    for remove in (
        lambda: fs.rm_file("d/a"),
        lambda: fs.rm("d/a"),
        lambda: fs.rm(["d/a"]),
        lambda: fs.rm("d", recursive=True),
        lambda: fs.rm("d/?"),
        lambda: fs.rm("*/a"),
        lambda: fs.mv("d/a", "d/x"),
        lambda: fs.delete("d/a"),
    ):
        fs.pipe_file("d/a", b"there")
        assert fs.cat_file("d/a") == b"there"
        remove()
        with pytest.raises(FileNotFoundError):
            fs.cat_file("d/a")


def test_a_write_drops_nothing_else(remote):
    fs = cached(remote)
    for path in ("d/a", "d/ab", "da", "d/e/a", "d/ef"):
        remote.put_content(path, b"old")
        fs.cat_file(path)
    other = cached(Counted(tells="mtime"))
    other._identity = "another remote in the same cache"
    other.fs.put_content("d/e/other", b"old")
    other.cat_file("d/e/other")
    fs.pipe_file("d/a", b"new")
    assert sorted(held(fs)) == ["d/ab", "d/e/a", "d/e/other", "d/ef", "da"]
    fs.rm("d/e", recursive=True)
    assert sorted(held(fs)) == ["d/ab", "d/e/other", "d/ef", "da"]
    fs.rm("d/a*")
    assert sorted(held(fs)) == ["d/e/other", "d/ef", "da"]


def test_a_write_that_fails_drops_too(remote):
    fs = cached(remote, validate="never")
    remote.put_content("a", b"old")
    assert fs.cat_file("a") == b"old"

    def half(path, value, **_):
        remote.put_content(path, b"half")
        raise OSError(errno.ECONNRESET, "gone")

    remote.pipe_file = half
    with pytest.raises(OSError, match="gone"):
        fs.pipe_file("a", b"new")
    assert fs.cat_file("a") == b"half"


def test_an_open_file_is_written_to_the_remote(remote):
    fs = cached(remote, validate="never")
    remote.put_content("a", b"old")
    assert fs.cat_file("a") == b"old"
    with fs.open("a", "wb") as file:
        file.write(b"new")
        assert fs.cat_file("a") == b"old"
        assert not file.closed
    assert file.closed
    file.close()
    assert fs.cat_file("a") == b"new"
    file = fs.open("a", "wb")
    file.write(b"dropped")
    del file
    assert fs.cat_file("a") == b"dropped"


def test_a_write_during_a_fetch_is_not_lost(remote):
    """Though the remote says nothing of versions."""
    remote.ukey = lambda path: ""
    remote.tells = None
    fs = cached(remote, validate="never")
    remote.put_content("a", b"old")

    def write(path, position):
        remote.hook = None
        fs.pipe_file("a", b"new")

    remote.hook = write
    assert fs.cat_file("a") == b"new"
    assert fs.cat_file("a") == b"new"
    assert held(fs) == {"a": 3}


def test_a_transaction_is_the_remotes():
    memory = fsspec.filesystem("memory")
    memory.pipe("/tx/a", b"old")
    fs = cached(memory, validate="never")
    assert fs.cat("/tx/a") == b"old"
    with fs.transaction:
        fs.pipe_file("/tx/a", b"new")
        with fs.open("/tx/b", "wb") as file:
            file.write(b"b")
        assert fs.cat("/tx/a") == b"old"
        assert not memory.exists("/tx/b")
    assert (fs.cat("/tx/a"), fs.cat("/tx/b")) == (b"new", b"b")
    with pytest.raises(ZeroDivisionError), fs.transaction:
        fs.pipe_file("/tx/a", b"never")
        raise ZeroDivisionError
    assert fs.cat("/tx/a") == memory.cat("/tx/a") == b"new"
    memory.rm("/tx", recursive=True)


# options


def test_caches_are_shared_by_those_who_ask_for_the_same():
    memory = fsspec.filesystem("memory")
    memory.pipe("/shared/a", b"a")
    options = {"target_protocol": "memory", "memory_limit": "16MiB"}
    found = []
    for _ in range(2):
        thread = threading.Thread(
            target=lambda: found.append(
                fsspec.filesystem("brimcache", **options, skip_instance_cache=True)
            )
        )
        thread.start()
        thread.join()
    first, second = found
    assert first is not second
    assert first.cat("/shared/a") == second.cat("/shared/a") == b"a"
    assert first.cache_stats().hits == second.cache_stats().hits == 1
    other = fsspec.filesystem("brimcache", **options | {"memory_limit": 32 << 20})
    assert other.cache_stats().files == 0
    first.clear_cache()
    assert held(second) == {}
    memory.rm("/shared", recursive=True)


def test_remotes_with_other_options_do_not_share_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
        url = "brimcache::dir://a::file://" + str(tmp_path / name)
        fs = fsspec.filesystem(
            "brimcache",
            fs=fsspec.filesystem("dir", path=str(tmp_path / name), fs=fsspec.filesystem("file")),
            memory_limit="16MiB",
            validate="never",
        )
        assert fs.cat("a") == name.encode(), url
    assert fs.cache_stats().files == 2


def test_the_defaults_bound_the_cache(remote):
    fs = BrimCacheFileSystem(fs=remote, skip_instance_cache=True)
    stats = fs.cache_stats()
    assert stats.memory_limit == 256 * MIB
    assert stats.limit == 128 * MIB + 2048 * MIB
    fs = cached(remote, limit=None, memory_limit="8MiB", spill_dir=False)
    assert fs.cache_stats().limit == 4 * MIB
    fs = cached(remote, limit="1KiB", memory_limit="8MiB", disk_limit="16MiB")
    assert fs.cache_stats().limit == 1024


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"cache_storage": "x"}, TypeError, "no option cache_storage"),
        ({"memory_limit": 0.5}, TypeError, "memory_limit is a number of bytes"),
        ({"limit": 0}, ValueError, "there would be no cache"),
        ({"limit": "much"}, ValueError, "much"),
        ({"store": "x", "spill_dir": "y"}, ValueError, "leave spill_dir out"),
        ({"disk_limit": "1GiB", "spill_dir": False}, ValueError, "spill_dir=False"),
        ({"target_protocol": "memory"}, ValueError, "either"),
    ],
)
def test_options_that_are_refused(remote, options, error, match):
    with pytest.raises(error, match=match):
        cached(remote, **options)
    with pytest.raises(ValueError, match="either"):
        BrimCacheFileSystem()


def test_an_instance_pickles_with_its_options():
    memory = fsspec.filesystem("memory")
    memory.pipe("/pickled/a", b"abcdef")
    fs = fsspec.filesystem("brimcache", target_protocol="memory", memory_limit="16MiB")
    again = pickle.loads(pickle.dumps(fs))
    assert again is fs
    assert fsspec.AbstractFileSystem.from_json(fs.to_json()) == fs
    with fs.open("/pickled/a") as file:
        file.read(2)
        with pickle.loads(pickle.dumps(file)) as other:
            assert other.read() == b"cdef"
    memory.rm("/pickled", recursive=True)
