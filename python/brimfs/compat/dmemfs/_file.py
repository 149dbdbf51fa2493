"""Nodes of the tree: names and what is charged for them. Bytes are in the core."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from brimfs.compat.dmemfs._lock import Waiter

FLAT = -1
"""The number of chunks of a file in the flat form."""


@final
class DirNode:
    """A directory. Its times stay those of its creation."""

    __slots__ = ("children", "created_at", "name", "parent")

    def __init__(self, parent: DirNode | None, name: str) -> None:
        self.parent = parent
        self.name = name
        self.children: dict[str, FileNode | DirNode] = {}
        self.created_at = time.time()


@final
class FileNode:
    """A file: its charge, its lock, and the name of its content in the core."""

    # Whether the core has a file of that name. An empty one needs none.
    stored = False
    size = 0
    # Bytes that were preallocated and not written: a change of form needs no room for them.
    reserved = 0
    generation = 0
    readers = 0
    writer = False
    waiters: deque[Waiter] | None = None

    def __init__(self, parent: DirNode | None, name: str, content: str, chunks: int) -> None:
        self.parent = parent
        self.name = name
        self.content = content
        self.chunks = chunks
        self.created_at = self.modified_at = time.time()

    def is_open(self) -> bool:
        return self.writer or self.readers > 0


Node = FileNode | DirNode


def path_of(node: Node) -> str:
    """The absolute path of a node of the tree."""
    names = []
    current: Node | None = node
    while current is not None and current.parent is not None:
        names.append(current.name)
        current = current.parent
    return "/" + "/".join(reversed(names))
