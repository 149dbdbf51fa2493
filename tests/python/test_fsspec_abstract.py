"""fsspec's own tests for filesystems, run on `brim://`."""

from __future__ import annotations

import fsspec
import pytest
from fsspec.tests import abstract

import brimfs.fsspec


class BrimFixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self):
        brimfs.fsspec.clear()
        yield fsspec.filesystem("brim")
        brimfs.fsspec.clear()

    @pytest.fixture
    def fs_path(self):
        return "store/base"

    @pytest.fixture
    def fs_join(self):
        return lambda *parts: "/".join(parts)


class TestCopy(abstract.AbstractCopyTests, BrimFixtures):
    pass


class TestGet(abstract.AbstractGetTests, BrimFixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, BrimFixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, BrimFixtures):
    pass


class TestPut(abstract.AbstractPutTests, BrimFixtures):
    pass


class FullNames(BrimFixtures):
    """The same, with paths as users write them."""

    @pytest.fixture
    def fs_path(self):
        return "brim://store/base"

    @pytest.fixture
    def fs_sanitize_path(self):
        return lambda path: path.removeprefix("brim://")


class TestCopyOfFullNames(abstract.AbstractCopyTests, FullNames):
    pass


class TestGetOfFullNames(abstract.AbstractGetTests, FullNames):
    pass


class TestOpenOfFullNames(abstract.AbstractOpenTests, FullNames):
    pass


class TestPipeOfFullNames(abstract.AbstractPipeTests, FullNames):
    pass


class TestPutOfFullNames(abstract.AbstractPutTests, FullNames):
    pass
