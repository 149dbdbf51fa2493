"""`FileSystem.walk`, with the rules of `os.walk` and no recursion."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brimfs import FileSystem

_Level = tuple[Any, list[Any], list[Any]]


def walk(
    filesystem: FileSystem,
    top: Any,
    topdown: bool,
    onerror: Callable[[OSError], object] | None,
    followlinks: bool,
) -> Iterator[_Level]:
    """Yield (path, directory names, file names); see `FileSystem.walk`."""
    stack: list[Any] = [os.fspath(top)]
    while stack:
        path = stack.pop()
        if isinstance(path, tuple):
            yield path
            continue
        try:
            names = filesystem._names(path)
        except OSError as error:
            if onerror is not None:
                onerror(error)
            continue
        dirs, files, links = names
        if topdown:
            yield path, dirs, files
        else:
            stack.append((path, dirs, files))
        # `dirs` may have been edited by the caller meanwhile.
        below = [_join(path, name) for name in dirs if followlinks or name not in links]
        stack.extend(reversed(below))


def _join(path: Any, name: Any) -> Any:
    slash = b"/" if isinstance(path, bytes) else "/"
    return path + name if path.endswith(slash) else path + slash + name
