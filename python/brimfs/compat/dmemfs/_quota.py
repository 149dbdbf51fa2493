"""The ledger: bytes, chunks and nodes against their limits.

Everything here is called under the lock of the tree.
"""

from __future__ import annotations

from brimfs.compat.dmemfs._exceptions import MFSNodeLimitExceededError, MFSQuotaExceededError
from brimfs.compat.dmemfs._file import FLAT, FileNode
from brimfs.compat.dmemfs._memory_guard import MemoryGuard

CHUNK_OVERHEAD = 128
PROMOTION_LIMIT = 512 * 1024 * 1024


class Ledger:
    """What is charged, and the limits."""

    __slots__ = (
        "chunks",
        "dirs",
        "files",
        "guard",
        "max_nodes",
        "overhead",
        "promotion_limit",
        "quota",
        "used",
    )

    def __init__(
        self,
        quota: int,
        overhead: int | None,
        promotion_limit: int | None,
        max_nodes: int | None,
        guard: MemoryGuard,
    ) -> None:
        self.quota = quota
        self.overhead = CHUNK_OVERHEAD if overhead is None else overhead
        self.promotion_limit = PROMOTION_LIMIT if promotion_limit is None else promotion_limit
        self.max_nodes = max_nodes
        self.guard = guard
        self.used = self.chunks = self.files = self.dirs = 0
        self.need_nodes(1)
        self.dirs = 1

    def need_nodes(self, count: int) -> None:
        """Raises `MFSNodeLimitExceededError` if so many nodes more are too many."""
        if self.max_nodes is not None:
            nodes = self.files + self.dirs
            if nodes + count > self.max_nodes:
                # The one that does not fit is the one that is named.
                raise MFSNodeLimitExceededError(max(nodes, self.max_nodes), self.max_nodes)

    def need(self, count: int) -> None:
        """Raises `MFSQuotaExceededError` if so many bytes more are too many."""
        if count > 0 and self.used + count > self.quota:
            raise MFSQuotaExceededError(count, self.quota - self.used)

    def charge_of(self, node: FileNode) -> int:
        """What a file is charged: its size, and in the chunk form each chunk."""
        return node.size if node.chunks == FLAT else node.size + node.chunks * self.overhead

    def forget(self, node: FileNode) -> None:
        """Refunds a file that is gone."""
        self.used -= self.charge_of(node)
        if node.chunks != FLAT:
            self.chunks -= node.chunks
        self.files -= 1

    def count(self, node: FileNode) -> None:
        """Charges a file that is new. Its room was asked for before."""
        self.used += self.charge_of(node)
        if node.chunks != FLAT:
            self.chunks += node.chunks
        self.files += 1

    def settle(self, node: FileNode, size: int, chunks: int) -> None:
        """Gives a file another size and form. The room was asked for before."""
        self.used -= self.charge_of(node)
        if node.chunks != FLAT:
            self.chunks -= node.chunks
        node.size, node.chunks = size, chunks
        self.used += self.charge_of(node)
        if chunks != FLAT:
            self.chunks += chunks
