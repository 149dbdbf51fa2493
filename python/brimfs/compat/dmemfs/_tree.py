"""The names: directories, finding, making, linking and unlinking nodes.

One lock guards the tree, the ledger and the states of file locks. It is held for a few steps, never
while somebody waits for a file or the core moves bytes.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Iterable, Iterator

import brimfs
from brimfs.compat import _paths
from brimfs.compat.dmemfs import _exceptions as errors
from brimfs.compat.dmemfs._file import FLAT, DirNode, FileNode, Node
from brimfs.compat.dmemfs._quota import Ledger

_REMEMBERED_PATHS = 32_768
_NOTHING_FREE: tuple[str | None, DirNode, str] = (None, DirNode(None, ""), "")


class Tree:
    """Nodes under one root. Methods are called with `lock` held, unless they say otherwise."""

    def __init__(self, ledger: Ledger, storage: str) -> None:
        self.lock = threading.RLock()
        self.ledger = ledger
        self.storage = storage
        self.first_chunks = FLAT if storage == "random_access" else 0
        self.core = brimfs.FileSystem(memory_guard="off")
        self.root = DirNode(None, "")
        # Spellings of paths that were found, to the node. Emptied when a node goes or gets
        # another name.
        self.found: dict[str, Node] = {}
        # What `find` found to be free last: who creates it need not look again.
        self._free = _NOTHING_FREE
        self._numbers = itertools.count(1)
        _trees.add(self)

    # ------------------------------------------------------------------ finding

    def find(self, path: str) -> Node | None:
        """The node of that path, if there is one."""
        self._free = _NOTHING_FREE
        if type(path) is str:
            above, _, name = path.rpartition("/")
            known = self._known(above)
            if known is not None and _is_plain(name):
                child = known.children.get(name)
                if child is None:
                    self._free = (path, known, name)
                elif len(self.found) < _REMEMBERED_PATHS:
                    self.found[path] = child
                return child
        node: Node = self.root
        for name in _paths.parts(path):
            if type(node) is not DirNode:
                return None
            child = node.children.get(name)
            if child is None:
                return None
            node = child
        if len(self.found) >= _REMEMBERED_PATHS:
            self.found.clear()
        self.found[path] = node
        return node

    def _known(self, above: str) -> DirNode | None:
        """The directory that this text before the last slash of a path led to before."""
        if not above:
            return self.root
        known = self.found.get(above)
        return known if type(known) is DirNode and known.parent is not None else None

    def get(self, path: str) -> Node | None:
        """As `find`, faster for a path that was found before."""
        if type(path) is str:
            node = self.found.get(path)
            # What was unlinked has no parent any more.
            if node is not None and (node.parent is not None or node is self.root):
                return node
        return self.find(path)

    def file(self, path: str) -> FileNode:
        """The file of that path. Raises `FileNotFoundError` or `IsADirectoryError`."""
        node = self.get(path)
        if type(node) is FileNode:
            return node
        raise errors.missing(path) if node is None else errors.is_directory(path)

    def directory(self, path: str) -> DirNode:
        """The directory of that path. Raises `FileNotFoundError` or `NotADirectoryError`."""
        node = self.get(path)
        if type(node) is DirNode:
            return node
        raise errors.missing(path) if node is None else errors.not_directory(path)

    def spot(self, path: str) -> tuple[DirNode, str]:
        """The existing directory for a path whose last name is new, and that name.

        Raises `FileNotFoundError` if there is no such directory, a file in its place included.
        """
        *above, name = _paths.parts(path)
        parent: Node = self.root
        for component in above:
            child = parent.children.get(component) if type(parent) is DirNode else None
            if child is None:
                raise errors.missing(path)
            parent = child
        if type(parent) is not DirNode:
            raise errors.missing(path)
        return parent, name

    # ------------------------------------------------------------------ making

    def new_file(self, parent: DirNode | None, name: str) -> FileNode:
        """A file that is neither linked nor counted."""
        return FileNode(parent, name, f"/{next(self._numbers):x}", self.first_chunks)

    def create(self, path: str) -> FileNode:
        """A new empty file, linked and counted. Raises `MFSNodeLimitExceededError` too."""
        known, parent, name = self._free
        if known is not path:
            parent, name = self.spot(path)
            above, _, last = path.rpartition("/")
            if len(self.found) < _REMEMBERED_PATHS and _is_plain(last):
                self.found[above] = parent
        self._free = _NOTHING_FREE
        ledger = self.ledger
        if ledger.max_nodes is not None:
            ledger.need_nodes(1)
        node = FileNode(parent, name, f"/{next(self._numbers):x}", self.first_chunks)
        parent.children[name] = node
        ledger.files += 1
        if len(self.found) < _REMEMBERED_PATHS:
            self.found[path] = node
        return node

    def missing_directories(
        self, components: Iterable[str], path: str
    ) -> tuple[DirNode, list[str]]:
        """The deepest directory of a chain that exists, and the names below it that do not.

        Raises `ParentIsFile` where a file stands in the way.
        """
        node = self.root
        names = list(components)
        for index, name in enumerate(names):
            child = node.children.get(name)
            if child is None:
                return node, names[index:]
            if type(child) is FileNode:
                raise errors.parent_is_file(path)
            assert type(child) is DirNode
            node = child
        return node, []

    def make_directories(self, base: DirNode, names: Iterable[str]) -> DirNode:
        """Makes a chain of directories below `base`. Their nodes were asked for before."""
        for name in names:
            child = DirNode(base, name)
            base.children[name] = child
            self.ledger.dirs += 1
            base = child
        return base

    # ------------------------------------------------------------------ removing and moving

    def below(self, top: Node) -> Iterator[Node]:
        """A node and all below it, parents first, in order of creation."""
        stack = [top]
        while stack:
            node = stack.pop()
            yield node
            if type(node) is DirNode:
                stack.extend(reversed(node.children.values()))

    def refuse_open(self, top: Node, path: str) -> None:
        """Raises `BlockingIOError` if a file is open, or one below a directory."""
        for node in self.below(top):
            if type(node) is FileNode and node.is_open():
                raise errors.is_open(path)

    def unlink(self, top: Node) -> list[str]:
        """Takes a node out of the tree and the ledger. Returns what the core has to remove."""
        parent = top.parent
        if parent is not None:
            del parent.children[top.name]
        contents = []
        nodes = [top] if type(top) is FileNode else list(self.below(top))
        for node in nodes:
            # Who still has it can tell that it is gone.
            node.parent = None
            if type(node) is FileNode:
                self.ledger.forget(node)
                if node.stored:
                    contents.append(node.content)
            else:
                self.ledger.dirs -= 1
        return contents

    def is_within(self, node: Node, top: Node) -> bool:
        current: Node | None = node
        while current is not None:
            if current is top:
                return True
            current = current.parent
        return False

    def relink(self, node: Node, parent: DirNode, name: str) -> None:
        """Gives a node another place."""
        assert node.parent is not None, "the root is never moved"
        del node.parent.children[node.name]
        node.parent, node.name = parent, name
        parent.children[name] = node
        self.found.clear()

    def drop_contents(self, contents: Iterable[str]) -> None:
        """Removes content from the core. Called without the lock."""
        for content in contents:
            self.core.remove(content)


def _is_plain(name: str) -> bool:
    """Whether the last part of a spelling is a name as it is."""
    return name not in ("", ".", "..") and "\\" not in name


_trees: weakref.WeakSet[Tree] = weakref.WeakSet()


def _free_locks() -> None:
    """In a forked child nobody gives back a lock that another thread of the parent held."""
    for tree in _trees:
        tree.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_locks)
