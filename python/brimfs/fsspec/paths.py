"""`UPath("brim://NAME/path")`, found by universal_pathlib through its entry point."""

from __future__ import annotations

from upath import UPath


class BrimPath(UPath):
    """A path of `brim://`; everything is as the filesystem and `UPath` have it."""

    __slots__ = ()
