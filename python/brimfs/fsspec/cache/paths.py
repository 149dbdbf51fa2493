"""`UPath("brimcache::s3://bucket/key")`, found by universal_pathlib through its entry point."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]
from upath import UPath
from upath._chain import ChainSegment, FSSpecChainParser

from brimfs.fsspec.cache.asking import PROTOCOL


class _Parser(FSSpecChainParser):
    """Leaves the path of a cache to what is behind it, as that of fsspec's own caches."""

    def unchain(self, *args: Any, **kwargs: Any) -> list[ChainSegment]:
        segments = super().unchain(*args, **kwargs)
        for place, (path, protocol, _) in enumerate(segments[:-1]):
            if protocol == PROTOCOL and path is not None:
                segments[place] = segments[place]._replace(path=None)
                segments[place + 1] = segments[place + 1]._replace(path=path)
        return segments


_PARSER = _Parser()


class BrimCachePath(UPath):
    """A path behind a cache. Options are those of `brimcache`; others by their protocol."""

    __slots__ = ()

    def __init__(self, *args: Any, protocol: str | None = None, **storage_options: Any) -> None:
        # As `fsspec.open` takes them.
        own = storage_options.pop(PROTOCOL, {})
        options = {"chain_parser": _PARSER, **storage_options, **own}
        super().__init__(*args, protocol=protocol, **options)

    @property
    def storage_options(self) -> Mapping[str, Any]:
        # Which file the chain was made for is no option: they are the same for all files.
        options = super().storage_options
        return MappingProxyType({key: value for key, value in options.items() if key != "fo"})

    @classmethod
    def _fs_factory(
        cls, urlpath: str, protocol: str, storage_options: Mapping[str, Any]
    ) -> AbstractFileSystem:
        options = {key: value for key, value in storage_options.items() if key != "fo"}
        return super()._fs_factory(urlpath, protocol, options)
