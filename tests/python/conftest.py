"""Fixtures of all tests."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import brimfs
from cold import audit

if TYPE_CHECKING:
    from brimfs.aio import FileSystem as AsyncFileSystem
    from brimfs.fsspec import BrimFileSystem
    from counted_remote import Counted


@pytest.fixture
def fs() -> Iterator[brimfs.FileSystem]:
    """A filesystem whose counters are checked against a full walk at the end."""
    with brimfs.FileSystem(memory_limit="1GiB", lock_timeout=10) as filesystem:
        yield filesystem
        filesystem._audit()


@pytest.fixture
def spilling(tmp_path: Path) -> Iterator[brimfs.FileSystem]:
    """A filesystem with 16 MiB of memory and a disk."""
    with brimfs.FileSystem(memory_limit="16MiB", spill_dir=tmp_path) as fs:
        yield fs
        audit(fs)


@pytest.fixture
def brim() -> Iterator[BrimFileSystem]:
    """The filesystem behind `brim://`, without any store before and after."""
    import fsspec

    import brimfs.fsspec

    brimfs.fsspec.clear()
    yield fsspec.filesystem("brim")
    brimfs.fsspec.clear()


@pytest.fixture
def tree(brim: BrimFileSystem) -> BrimFileSystem:
    """`brim` with five files in the store `s`."""
    for path in ("a", "d/b", "d/c.txt", "d/e/f.txt", "g.txt"):
        brim.pipe_file(f"s/{path}", path.encode())
    return brim


@pytest.fixture
def no_caches() -> Iterator[None]:
    """No cache of `brimcache::` is open before and after."""
    import brimfs.fsspec.cache

    brimfs.fsspec.cache.close_all()
    yield
    brimfs.fsspec.cache.close_all()


@pytest.fixture
def remote() -> Counted:
    """A remote filesystem that counts what it is asked."""
    from counted_remote import Counted

    return Counted()


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches fetch files in pieces of `counted_remote.PIECE`."""
    from counted_remote import PIECE

    monkeypatch.setattr("brimfs.fsspec.cache.remote.PIECE", PIECE)


@pytest.fixture
def afs(fs: brimfs.FileSystem) -> AsyncFileSystem:
    """`fs` for event loops."""
    import brimfs.aio

    return brimfs.aio.FileSystem.over(fs)


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """`brimfs.aio` has an executor that refuses."""
    from brimfs.aio import _threads

    class Refuses:
        def submit(self, call: object, *args: object) -> NoReturn:
            raise AssertionError(f"{call} {args} went to a thread")

    monkeypatch.setattr(_threads, "_pool", Refuses())
    monkeypatch.setattr(_threads, "_patient_pool", Refuses())


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What `brimfs.aio` did in a thread."""
    from brimfs.aio import _threads

    done: list[object] = []

    class Notes:
        def __init__(self, pool: Executor) -> None:
            self.pool = pool

        def submit(self, call: Any, *args: Any, **keywords: Any) -> object:
            done.append(call)
            return self.pool.submit(call, *args, **keywords)

    monkeypatch.setattr(_threads, "_pool", Notes(_threads._executor()))
    monkeypatch.setattr(_threads, "_patient_pool", Notes(_threads._patient_executor()))
    return done


@pytest.fixture
def tmpfs() -> Iterator[Path]:
    """A directory of the operating system, in memory where there is such a place."""
    import tempfile

    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as directory:
        yield Path(directory)


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python source in an interpreter of its own."""

    def run(source: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source))
        return subprocess.run(
            [sys.executable, "-X", "dev", str(script)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
