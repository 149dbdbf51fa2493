"""Patterns: `*`, `?`, `[seq]`, `[!seq]` within one component, `**` for any depth."""

from __future__ import annotations

import fnmatch

from brimfs.compat import _paths
from brimfs.compat.dmemfs._file import DirNode, FileNode, Node

_MAGIC = frozenset("*?[")


def glob(root: DirNode, pattern: str) -> list[str]:
    """Sorted absolute paths, each once. Called with the lock of the tree held."""
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be str, not {type(pattern).__name__}")
    components = [part for part in pattern.replace("\\", "/").split("/") if part]
    if not components:
        return []
    here: dict[tuple[str, ...], Node] = {(): root}
    for index, component in enumerate(components):
        is_last = index == len(components) - 1
        here = _deep(here, is_last) if component == "**" else _step(here, component, is_last)
    here.pop((), None)
    return sorted(map(_paths.joined, here))


def _step(
    here: dict[tuple[str, ...], Node], component: str, is_last: bool
) -> dict[tuple[str, ...], Node]:
    found: dict[tuple[str, ...], Node] = {}
    has_magic = not _MAGIC.isdisjoint(component)
    for path, node in here.items():
        if type(node) is not DirNode:
            continue
        names = fnmatch.filter(node.children, component) if has_magic else [component]
        for name in names:
            child = node.children.get(name)
            if child is not None and (is_last or type(child) is DirNode):
                found[(*path, name)] = child
    return found


def _deep(here: dict[tuple[str, ...], Node], is_last: bool) -> dict[tuple[str, ...], Node]:
    found: dict[tuple[str, ...], Node] = {}
    stack = list(here.items())
    for path, node in stack:
        if not is_last and type(node) is DirNode:
            found[path] = node
    while stack:
        path, node = stack.pop()
        if type(node) is not DirNode:
            continue
        for name, child in node.children.items():
            below = (*path, name)
            if below in found:
                continue
            if type(child) is DirNode:
                found[below] = child
                stack.append((below, child))
            elif is_last and type(child) is FileNode:
                found[below] = child
    return found
