"""A fixture for pytest: `pytest_plugins = ["dmemfs._pytest_plugin"]`."""

from __future__ import annotations

import pytest

from brimfs.compat.dmemfs._fs import MemoryFileSystem


@pytest.fixture
def mfs() -> MemoryFileSystem:
    """A fresh filesystem with a quota of 1 MiB."""
    return MemoryFileSystem(max_quota=1024 * 1024)
