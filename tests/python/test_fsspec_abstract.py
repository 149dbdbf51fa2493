"""fsspec's own tests for filesystems, run on `brim://`, and on `brimcache::` in front of it."""

from __future__ import annotations

import fsspec
import pytest
from fsspec.tests import abstract

import brimfs.fsspec
import brimfs.fsspec.cache


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


class CacheFixtures(BrimFixtures):
    """The same behind a cache, which asks nobody and so has to see every change itself."""

    @pytest.fixture
    def fs(self):
        brimfs.fsspec.clear()
        fs = fsspec.filesystem(
            "brimcache", target_protocol="brim", memory_limit="16MiB", validate="never"
        )
        yield fs
        fs.close_cache()
        brimfs.fsspec.clear()


class TestCopyBehindACache(abstract.AbstractCopyTests, CacheFixtures):
    pass


class TestGetBehindACache(abstract.AbstractGetTests, CacheFixtures):
    pass


class TestOpenBehindACache(abstract.AbstractOpenTests, CacheFixtures):
    pass


class TestPipeBehindACache(abstract.AbstractPipeTests, CacheFixtures):
    pass


class TestPutBehindACache(abstract.AbstractPutTests, CacheFixtures):
    pass
