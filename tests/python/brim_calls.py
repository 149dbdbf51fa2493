"""What the tests of `brim://` look at besides the answers."""

from __future__ import annotations

import pytest

import brimfs.fsspec


def staged(name):
    """What lies aside in a store."""
    return [entry for entry in brimfs.fsspec.store(name).listdir() if entry.startswith(".brim")]


def refused(error, call, *arguments, path, **options):
    """The error of a call, which has to name that path."""
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    assert f"'brim://{path}'" in str(caught.value)
    return caught.value
