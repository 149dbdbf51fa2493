"""Transactions, from Python."""

import errno
import threading

import pytest

import brimfs


def test_a_block_that_ends_commits_and_one_that_raises_does_not() -> None:
    # Of its own, so that what is counted is its own, too.
    fs = brimfs.FileSystem(memory_limit="64MiB")
    fs.write_text("/a", "old")
    with fs.transaction() as tx:
        tx.write_text("/a", "new")
        tx.write_bytes("/b", b"x" * 100_000)
        assert fs.read_text("/a") == "old"
    assert fs.read_text("/a") == "new"
    assert fs.read_bytes("/b") == b"x" * 100_000
    with pytest.raises(ValueError, match="closed"):
        tx.read_text("/a")
    with pytest.raises(KeyError, match="mine"), fs.transaction() as tx:
        tx.remove("/a")
        raise KeyError("mine")
    assert fs.read_text("/a") == "new"
    fs._audit()


def test_a_conflict_names_the_path_and_changes_nothing() -> None:
    fs = brimfs.FileSystem()
    fs.write_text("/a", "old")
    with pytest.raises(brimfs.Conflict) as caught, fs.transaction() as tx:
        tx.write_text("/a", "mine")
        tx.write_text("/b", "mine")
        fs.write_text("/a", "theirs")
    assert caught.value.errno == errno.ESTALE
    assert caught.value.filename == "/a"
    assert "since the transaction began" in str(caught.value)
    assert (fs.read_text("/a"), fs.exists("/b")) == ("theirs", False)


def test_commit_and_rollback_by_hand() -> None:
    fs = brimfs.FileSystem()
    transaction = fs.transaction()
    transaction.files.write_text("/a", "x")
    file = transaction.files.open("/a")
    with pytest.raises(OSError, match="still open") as caught:
        transaction.commit()
    assert caught.value.errno == errno.EBUSY
    file.close()
    transaction.commit()
    assert fs.read_text("/a") == "x"
    assert repr(transaction) == "<brimfs.Transaction that ended>"
    with pytest.raises(ValueError, match="closed"):
        transaction.commit()
    transaction.rollback()
    with fs.transaction() as tx:
        tx.write_text("/b", "x")
        # A block that ended it itself ends it once.
        tx.close()
    assert not fs.exists("/b")
    with pytest.raises(brimfs.ReadOnly):
        fs.snapshot().transaction()


def test_what_is_cached_of_a_file_is_forgotten() -> None:
    fs = brimfs.FileSystem()
    fs.write_bytes("/a", b"old" * 1000)
    for _ in range(10):
        assert fs.read_bytes("/a") == b"old" * 1000
    with fs.transaction() as tx:
        tx.write_bytes("/a", b"new" * 1000)
    assert fs.read_bytes("/a") == b"new" * 1000


def test_threads_that_begin_again_lose_no_update() -> None:
    fs = brimfs.FileSystem()
    fs.write_text("/count", "0")
    conflicts = []

    def work() -> None:
        for _ in range(50):
            while True:
                try:
                    with fs.transaction() as tx:
                        tx.write_text("/count", str(int(tx.read_text("/count")) + 1))
                    break
                except brimfs.Conflict as conflict:
                    conflicts.append(conflict.filename)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fs.read_text("/count") == "200"
    assert set(conflicts) <= {"/count"}


def test_a_store_keeps_what_was_committed(tmp_path) -> None:
    with brimfs.FileSystem(tmp_path / "store", durability="manual") as fs:
        fs.write_text("/a", "old")
        with fs.transaction() as tx:
            tx.write_text("/a", "new")
            tx.mkdir("/d")
            tx.write_text("/d/b", "new")
    with brimfs.FileSystem(tmp_path / "store") as fs:
        assert (fs.read_text("/a"), fs.read_text("/d/b")) == ("new", "new")
