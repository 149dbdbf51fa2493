"""What dmemfs charges for content, in each form, and its limits."""

from __future__ import annotations

import io
import random

import pytest

from brimfs.compat.dmemfs import (
    MemoryFileSystem,
    MFSNodeLimitExceededError,
    MFSQuotaExceededError,
    _memory_info,
)


def used(mfs):
    return mfs.stats()["used_bytes"]


def put(mfs, path, *pieces):
    with mfs.open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)


def test_the_keys_of_stats():
    assert MemoryFileSystem(1000).stats() == {
        "used_bytes": 0,
        "quota_bytes": 1000,
        "free_bytes": 1000,
        "file_count": 0,
        "dir_count": 1,
        "chunk_count": 0,
        "overhead_per_chunk_estimate": 128,
    }


def test_each_append_is_a_chunk():
    mfs = MemoryFileSystem()
    put(mfs, "/a", *[b"x"] * 1000)
    stats = mfs.stats()
    assert (stats["used_bytes"], stats["chunk_count"]) == (129_000, 1000)
    mfs.remove("/a")
    assert (used(mfs), mfs.stats()["chunk_count"]) == (0, 0)


@pytest.mark.parametrize("overhead", [0, 10])
def test_another_charge_for_chunks(overhead):
    mfs = MemoryFileSystem(chunk_overhead_override=overhead)
    put(mfs, "/a", b"12", b"3")
    assert used(mfs) == 3 + 2 * overhead
    assert mfs.stats()["overhead_per_chunk_estimate"] == overhead


def test_the_chunk_form_when_it_is_resized():
    mfs = MemoryFileSystem()
    with mfs.open("/a", "wb") as file:
        file.write(b"12345")
        file.write(b"67890")
        assert used(mfs) == 10 + 256
        file.truncate(20)
        assert used(mfs) == 20 + 3 * 128
        file.truncate(5)
        assert used(mfs) == 5 + 128
        file.truncate(0)
        assert used(mfs) == 0


def test_a_change_in_the_middle_makes_it_flat_for_good():
    mfs = MemoryFileSystem()
    put(mfs, "/a", b"12345", b"678")
    with mfs.open("/a", "r+b") as file:
        file.write(b"x")
    assert (used(mfs), mfs.stats()["chunk_count"]) == (8, 0)
    put(mfs, "/a", b"ab", b"c")
    assert used(mfs) == 3


def test_random_access_is_flat_from_the_start():
    mfs = MemoryFileSystem(default_storage="random_access")
    put(mfs, "/a", b"12", b"3")
    assert used(mfs) == 3
    mfs.import_tree({"/b": b"1234"})
    assert used(mfs) == 7
    mfs.copy("/b", "/c")
    assert used(mfs) == 11


def test_sequential_files_can_only_be_appended_to():
    mfs = MemoryFileSystem(default_storage="sequential")
    put(mfs, "/a", b"12", b"3")
    with mfs.open("/a", "r+b") as file:
        for position in (0, 2, 7):
            file.seek(position)
            with pytest.raises(io.UnsupportedOperation):
                file.write(b"x")
        file.seek(0, 2)
        file.write(b"4")
    assert mfs.export_tree() == {"/a": b"1234"}


def test_the_promotion_limit():
    mfs = MemoryFileSystem(promotion_hard_limit=4)
    put(mfs, "/a", b"12345")
    put(mfs, "/b", b"1234")
    with mfs.open("/a", "r+b") as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"x")
    with mfs.open("/b", "r+b") as file:
        file.write(b"x")
    assert mfs.export_tree() == {"/a": b"12345", "/b": b"x234"}


def test_a_change_of_form_needs_room_for_a_moment():
    mfs = MemoryFileSystem(1000)
    put(mfs, "/a", b"x" * 500)
    with mfs.open("/a", "r+b") as file:
        with pytest.raises(MFSQuotaExceededError) as caught:
            file.write(b"y")
        assert (caught.value.requested, caught.value.available) == (500, 372)
    assert used(mfs) == 628


def test_room_that_was_preallocated_is_not_asked_for_again():
    mfs = MemoryFileSystem(1000)
    with mfs.open("/a", "wb", preallocate=600) as file:
        assert file.write(b"y" * 600) == 600
    assert used(mfs) == 600


@pytest.mark.parametrize(
    ("storage", "requested"), [("auto", 1128), ("sequential", 1128), ("random_access", 1000)]
)
def test_over_quota(storage, requested):
    mfs = MemoryFileSystem(500, default_storage=storage)
    with mfs.open("/a", "wb") as file:
        with pytest.raises(MFSQuotaExceededError) as caught:
            file.write(b"x" * 1000)
        assert (caught.value.requested, caught.value.available) == (requested, 500)
        assert (file.tell(), used(mfs)) == (0, 0)
        with pytest.raises(MFSQuotaExceededError):
            file.truncate(501)
    assert mfs.export_tree() == {"/a": b""}


def test_the_quota_is_met_to_the_byte():
    mfs = MemoryFileSystem(1128)
    put(mfs, "/a", b"x" * 1000)
    assert mfs.stats()["free_bytes"] == 0
    with mfs.open("/a", "ab") as file, pytest.raises(MFSQuotaExceededError):
        file.write(b"y")


def test_imports_count_the_difference():
    mfs = MemoryFileSystem(1000)
    mfs.import_tree({"/a": b"x" * 500, "/b": b""})
    assert used(mfs) == 628
    mfs.import_tree({"/a": b"y" * 800})
    assert used(mfs) == 928
    with pytest.raises(MFSQuotaExceededError):
        mfs.import_tree({"/a": b"z" * 873})
    assert mfs.export_tree() == {"/a": b"y" * 800, "/b": b""}


def test_the_node_limit():
    mfs = MemoryFileSystem(max_nodes=3)
    mfs.mkdir("/d")
    put(mfs, "/a", b"")
    for call in (
        lambda: put(mfs, "/b"),
        lambda: mfs.mkdir("/e"),
        lambda: mfs.copy("/a", "/b"),
        lambda: mfs.copy_tree("/d", "/e"),
        lambda: mfs.import_tree({"/b": b""}),
        lambda: mfs.move("/a", "/new/a"),
    ):
        with pytest.raises(MFSNodeLimitExceededError) as caught:
            call()
        assert (caught.value.current, caught.value.limit) == (3, 3)
        assert (caught.value.requested, caught.value.available) == (4, 0)
    assert list(mfs.walk()) == [("/", ["d"], ["a"]), ("/d", [], [])]
    with pytest.raises(MFSNodeLimitExceededError):
        MemoryFileSystem(max_nodes=0)


@pytest.mark.parametrize("storage", ["auto", "random_access"])
def test_whatever_is_done_the_ledger_returns_to_zero(storage):
    random_ = random.Random(7)
    mfs = MemoryFileSystem(20_000, default_storage=storage)
    for _ in range(3000):
        path = f"/{random_.choice('abcd')}"
        other = f"/{random_.choice('abcd')}"
        data = bytes(random_.randrange(2000))
        try:
            match random_.randrange(7):
                case 0:
                    put(mfs, path, data, b"x")
                case 1:
                    with mfs.open(path, random_.choice(["r+b", "ab"])) as file:
                        file.write(data)
                case 2:
                    mfs.copy(path, other)
                case 3:
                    mfs.import_tree({path: data, other: b""})
                case 4:
                    with mfs.open(path, "r+b") as file:
                        file.truncate(random_.randrange(3000))
                case 5:
                    mfs.open(path, "ab", preallocate=random_.randrange(3000)).close()
                case 6:
                    mfs.remove(path)
        except OSError:
            pass
        stats = mfs.stats()
        assert 0 <= stats["used_bytes"] <= 20_000
        assert stats["file_count"] == len(mfs.listdir("/"))
        content = sum(len(content) for content in mfs.export_tree().values())
        assert stats["used_bytes"] == content + 128 * stats["chunk_count"]
    for name in mfs.listdir("/"):
        mfs.remove(f"/{name}")
    assert (used(mfs), mfs.stats()["chunk_count"], mfs.stats()["file_count"]) == (0, 0, 0)
    assert mfs._tree.core.stats().files == 0


@pytest.fixture
def memory(monkeypatch):
    """What the machine says that it has."""
    available = {"bytes": 1000}
    monkeypatch.setattr(_memory_info, "get_available_memory", lambda: available["bytes"])
    return available


def test_a_guard_at_the_start(memory):
    with pytest.warns(ResourceWarning):
        MemoryFileSystem(2000, memory_guard="init")
    with pytest.raises(MemoryError):
        MemoryFileSystem(2000, memory_guard="init", memory_guard_action="raise")
    memory["bytes"] = None
    MemoryFileSystem(2000, memory_guard="init", memory_guard_action="raise")


def test_a_guard_of_every_write(memory):
    mfs = MemoryFileSystem(
        900, memory_guard="per_write", memory_guard_action="raise", memory_guard_interval=0.0
    )
    put(mfs, "/a", b"x" * 100)
    before = mfs.stats()
    memory["bytes"] = 120
    with mfs.open("/a", "ab") as file:
        for change in (lambda: file.write(b"x"), lambda: file.truncate(200)):
            with pytest.raises(MemoryError):
                change()
    for change in (
        lambda: mfs.copy("/a", "/b"),
        lambda: mfs.import_tree({"/b": b"x" * 100}),
        lambda: mfs.open("/b", "wb", preallocate=50),
    ):
        with pytest.raises(MemoryError):
            change()
    assert mfs.stats() == before
    with mfs.open("/a", "r+b") as file:
        file.write(b"y")
        file.write(b"z")


def test_a_probe_counts_for_a_while(memory):
    mfs = MemoryFileSystem(900, memory_guard="per_write", memory_guard_interval=1000)
    memory["bytes"] = 0
    put(mfs, "/a", b"x")


def test_the_machine_says_what_it_has():
    available = _memory_info.get_available_memory()
    assert available is None or available > 0
