"""Arguments of the calls, checked and in one form."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from brimfs.compat import _paths


@lru_cache(4096)
def _joined(path: str) -> str:
    return _paths.joined(_paths.parts(path))


def key_of(path: str) -> str:
    if not isinstance(path, str):
        raise TypeError(f"path must be str, not {type(path).__name__}")
    return _joined(path)


def content_of(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode("utf-8", "surrogateescape")
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"data must be str or bytes-like, not {type(data).__name__}")


def check_priority(priority: int) -> None:
    if not 0 <= priority <= 10:
        raise ValueError(f"a priority is 0 to 10, not {priority}")
