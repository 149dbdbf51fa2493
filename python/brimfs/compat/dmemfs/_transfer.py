"""Whole files and trees: copies, imports and exports.

Locks of files are waited for with nothing else held, and no longer than the default timeout.
Content is built aside, and becomes visible in one step under the lock of the tree."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from brimfs.compat import _paths
from brimfs.compat.dmemfs import _exceptions as errors
from brimfs.compat.dmemfs._file import FLAT, DirNode, FileNode, Node, path_of

if TYPE_CHECKING:
    from brimfs.compat.dmemfs._fs import MemoryFileSystem
    from brimfs.compat.dmemfs._tree import Tree


def content_of(fs: MemoryFileSystem, path: str, max_size: int | None = None) -> bytes:
    node = fs._hold(path, fs._default_lock_timeout)
    try:
        if max_size is not None and node.size > max_size:
            raise ValueError(f"{path!r} has {node.size} bytes, more than {max_size}")
        return fs._tree.core.read_bytes(node.content) if node.size else b""
    finally:
        fs._release(node)


def iter_export(fs: MemoryFileSystem, prefix: str, only_dirty: bool) -> Iterator[tuple[str, bytes]]:
    tree = fs._tree
    with tree.lock:
        top = tree.get(prefix)
        nodes = [] if top is None else list(tree.below(top))
        paths = [
            path_of(node)
            for node in nodes
            if type(node) is FileNode and (node.generation > 0 or not only_dirty)
        ]
    del nodes, top
    for path in paths:
        try:
            content = content_of(fs, path)
        except (FileNotFoundError, IsADirectoryError):
            continue
        yield path, content


# ---------------------------------------------------------------------- copies


def _free_spot(tree: Tree, dst: str) -> tuple[DirNode, str]:
    if tree.get(dst) is not None:
        raise errors.exists(dst)
    return tree.spot(dst)


def _ask(tree: Tree, nodes: int, charge: int, path: str) -> None:
    """Raises the errors of limits, with the path."""
    ledger = tree.ledger
    try:
        if nodes > 0:
            ledger.need_nodes(nodes)
        if charge > 0:
            if ledger.guard.per_write:
                ledger.guard.check(charge)
            ledger.need(charge)
    except errors.MFSQuotaExceededError as error:
        error.filename = path
        raise


def _fresh(tree: Tree, name: str, size: int) -> FileNode:
    """A file of that size that is not in the tree, as one chunk."""
    node = tree.new_file(None, name)
    node.size = size
    if node.chunks != FLAT:
        node.chunks = 1 if size else 0
    return node


def copy(fs: MemoryFileSystem, src: str, dst: str) -> None:
    tree = fs._tree
    with tree.lock:
        tree.file(src)
        _free_spot(tree, dst)
    source = fs._hold(src, fs._default_lock_timeout)
    try:
        made = _fresh(tree, "", source.size)
        with tree.lock:
            _free_spot(tree, dst)
            _ask(tree, 1, tree.ledger.charge_of(made), dst)
        try:
            if made.size:
                tree.core.copy(source.content, made.content)
                made.stored = True
            made.generation = 1 if made.size else 0
            with tree.lock:
                parent, name = _free_spot(tree, dst)
                _ask(tree, 1, tree.ledger.charge_of(made), dst)
                made.parent, made.name = parent, name
                parent.children[name] = made
                tree.ledger.count(made)
        except BaseException:
            if made.stored:
                tree.core.remove(made.content)
            raise
    finally:
        fs._release(source)


def copy_tree(fs: MemoryFileSystem, src: str, dst: str) -> None:
    tree = fs._tree
    with tree.lock:
        top = tree.directory(src)
        _free_spot(tree, dst)
        nodes = list(tree.below(top))
        paths = {node: path_of(node) for node in nodes if type(node) is FileNode}
    deadline = None
    if fs._default_lock_timeout is not None:
        deadline = time.monotonic() + fs._default_lock_timeout
    held: dict[Node, FileNode] = {}
    try:
        for node, path in paths.items():
            timeout = None if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                found = fs._hold(path, timeout)
            except (FileNotFoundError, IsADirectoryError):
                # Removed since the tree was looked at.
                continue
            held[node] = found
        _copy_nodes(tree, nodes, held, dst)
    finally:
        for node in held.values():
            fs._release(node)


def _copy_nodes(tree: Tree, nodes: list[Node], held: dict[Node, FileNode], dst: str) -> None:
    """Builds the copy of a directory, `nodes[0]`, and links it. The sources are locked."""
    made: dict[Node, Node] = {}
    dirs = 0
    files: list[tuple[FileNode, FileNode]] = []
    for node in nodes:
        parent = made.get(node.parent) if node.parent is not None else None
        if parent is None and node is not nodes[0]:
            # It was removed or moved meanwhile.
            continue
        if type(node) is DirNode:
            copied: Node = DirNode(None, node.name)
            dirs += 1
        elif node in held:
            copied = _fresh(tree, node.name, held[node].size)
            files.append((held[node], copied))
        else:
            continue
        made[node] = copied
        if type(parent) is DirNode:
            copied.parent = parent
            parent.children[node.name] = copied
    top = made[nodes[0]]
    assert type(top) is DirNode
    charge = sum(tree.ledger.charge_of(copied) for _, copied in files)
    with tree.lock:
        _free_spot(tree, dst)
        _ask(tree, dirs + len(files), charge, dst)
    try:
        for source, copied in files:
            if source.size:
                tree.core.copy(source.content, copied.content)
                copied.stored = True
        with tree.lock:
            place, name = _free_spot(tree, dst)
            _ask(tree, dirs + len(files), charge, dst)
            top.parent, top.name = place, name
            place.children[name] = top
            tree.ledger.dirs += dirs
            for _, copied in files:
                tree.ledger.count(copied)
    except BaseException:
        tree.drop_contents(copied.content for _, copied in files if copied.stored)
        raise


# ---------------------------------------------------------------------- imports


class _Plan:
    """Where the files of an import go, and what that takes. Made with the lock of the tree held."""

    def __init__(self, tree: Tree, made: dict[tuple[str, ...], FileNode]) -> None:
        self.directories: dict[tuple[str, ...], None] = {}
        self.replaced: dict[tuple[str, ...], FileNode] = {}
        charge = 0
        for components, node in made.items():
            path = _paths.joined(components)
            for depth in range(1, len(components)):
                if components[:depth] in made:
                    raise errors.parent_is_file(path)
            base, missing = tree.missing_directories(components[:-1], path)
            for depth in range(len(components) - len(missing), len(components)):
                self.directories[components[:depth]] = None
            old = None if missing else base.children.get(components[-1])
            if type(old) is DirNode:
                raise errors.is_directory(path)
            if type(old) is FileNode:
                if old.is_open():
                    raise errors.is_open(path)
                self.replaced[components] = old
                charge -= tree.ledger.charge_of(old)
            charge += tree.ledger.charge_of(node)
        nodes = len(self.directories) + len(made) - len(self.replaced)
        _ask(tree, nodes, charge, _paths.joined(next(iter(made))))


def import_tree(fs: MemoryFileSystem, mapping: Mapping[str, bytes]) -> None:
    tree = fs._tree
    contents: dict[tuple[str, ...], bytes] = {}
    for path, content in mapping.items():
        components = _paths.parts(path)
        if not components:
            raise errors.is_directory(path)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"the content of {path!r} must be bytes-like, not {type(content).__name__}"
            )
        contents[components] = bytes(content)
    if not contents:
        return
    made = {path: _fresh(tree, path[-1], len(content)) for path, content in contents.items()}
    with tree.lock:
        _Plan(tree, made)
    try:
        for components, node in made.items():
            if node.size:
                tree.core.write_bytes(node.content, contents[components])
                node.stored = True
        with tree.lock:
            # Others may have come in between.
            old = _link(tree, made, _Plan(tree, made))
    except BaseException:
        tree.drop_contents(node.content for node in made.values() if node.stored)
        raise
    tree.drop_contents(old)


def _link(tree: Tree, made: dict[tuple[str, ...], FileNode], plan: _Plan) -> list[str]:
    """Puts all in its place; nothing fails from here on. Returns what the core has to remove."""
    dropped = []
    for components, node in made.items():
        parent = tree.make_directories(*tree.missing_directories(components[:-1], ""))
        old = plan.replaced.get(components)
        if old is not None:
            # The name keeps its place in the directory.
            tree.ledger.forget(old)
            old.parent = None
            if old.stored:
                dropped.append(old.content)
        node.parent = parent
        parent.children[node.name] = node
        tree.ledger.count(node)
    tree.found.clear()
    return dropped
