"""File locks: shared or exclusive, owned by a handle, served in the order of asking.

All state of a lock is changed under the lock of the tree, and nobody waits for a file with that
held. Who gives a lock back hands it to who waits for it, so a file that is waited for is always
open."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from brimfs.compat.dmemfs import _exceptions

if TYPE_CHECKING:
    from brimfs.compat.dmemfs._file import FileNode


class Waiter:
    """One who waits for a file lock.

    `wake` is called once it has it, under the lock of the tree. Where that is `False` nobody
    waits any more."""

    __slots__ = ("exclusive", "granted", "wake")

    def __init__(self, exclusive: bool, wake: Callable[[], object]) -> None:
        self.exclusive = exclusive
        self.granted = False
        self.wake = wake


def try_take(node: FileNode, exclusive: bool) -> bool:
    """Takes the lock if it is free and nobody waits. The caller holds the lock of the tree."""
    if node.writer or node.waiters:
        return False
    if exclusive:
        if node.readers:
            return False
        node.writer = True
    else:
        node.readers += 1
    return True


def enqueue(node: FileNode, waiter: Waiter) -> None:
    """The caller holds the lock of the tree."""
    if node.waiters is None:
        node.waiters = deque()
    node.waiters.append(waiter)


def give_back(node: FileNode, exclusive: bool) -> None:
    """Gives a lock back, and hands it on. The caller holds the lock of the tree."""
    if exclusive:
        node.writer = False
    else:
        node.readers -= 1
    if node.waiters:
        _hand_on(node)


def downgrade(node: FileNode) -> None:
    """Makes an exclusive lock a shared one. The caller holds the lock of the tree."""
    node.writer = False
    node.readers = 1
    if node.waiters:
        _hand_on(node)


def _hand_on(node: FileNode) -> None:
    waiters = node.waiters
    while waiters:
        waiter = waiters[0]
        if node.writer or (waiter.exclusive and node.readers):
            return
        waiters.popleft()
        if waiter.wake() is False:
            continue
        waiter.granted = True
        if waiter.exclusive:
            node.writer = True
        else:
            node.readers += 1
    node.waiters = None


def give_up(node: FileNode, waiter: Waiter) -> bool:
    """Ends a wait. Returns whether the lock was handed over before. The caller holds the lock of
    the tree.
    """
    if waiter.granted:
        return True
    if node.waiters:
        node.waiters.remove(waiter)
        _hand_on(node)
    return False


def wait(
    tree: threading.RLock,
    node: FileNode,
    waiter: Waiter,
    event: threading.Event,
    timeout: float | None,
    path: str,
) -> None:
    """Waits until a queued waiter has the lock. The caller does not hold the lock of the tree.

    Raises `BlockingIOError` after `timeout` seconds; `None` waits for ever.
    """
    try:
        # What is longer than the platform can wait is as good as for ever.
        if timeout is not None and timeout > threading.TIMEOUT_MAX:
            timeout = None
        event.wait(timeout)
    except BaseException:
        with tree:
            if give_up(node, waiter):
                give_back(node, waiter.exclusive)
        raise
    with tree:
        if not give_up(node, waiter):
            raise _exceptions.lock_timeout(path)
