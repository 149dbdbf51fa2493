"""Fixtures of all tests."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import brimfs
from cold import audit


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
