"""Several changes that come together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Self

from brimfs import _brimfs
from brimfs.aio._threads import patiently

if TYPE_CHECKING:
    from brimfs.aio._filesystem import FileSystem


class Transaction:
    """Changes that come together or not at all; `FileSystem.transaction` makes it.

    `async with` gives the `FileSystem` to change, commits at the end of the block, and forgets
    everything if that raises or is cancelled. `await` only begins it.
    """

    def __init__(
        self,
        begin: Callable[[], _brimfs.Transaction],
        over: Callable[[_brimfs.FileSystem], FileSystem],
    ) -> None:
        self._begin = begin
        self._over = over
        self._begun: _brimfs.Transaction | None = None

    async def _start(self) -> Self:
        if self._begun is None:
            self._begun = await patiently(self._begin)
        return self

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._start().__await__()

    def _core(self) -> _brimfs.Transaction:
        if self._begun is None:
            raise ValueError("the transaction has not begun: await it, or use it with async with")
        return self._begun

    @property
    def files(self) -> FileSystem:
        """The branch that is changed, a FileSystem; closed once the transaction ended."""
        return self._over(self._core().files)

    async def commit(self) -> None:
        """Have the filesystem have all that was changed, as one step.

        In a thread, which waits for file locks too; see `brimfs.Transaction.commit`. Who is
        cancelled meanwhile does not know whether it was made.
        """
        await patiently(self._core().commit)

    async def rollback(self) -> None:
        """Forget what was changed, and end the transaction. Does nothing if it ended before."""
        await patiently(self._core().rollback)

    async def __aenter__(self) -> FileSystem:
        await self._start()
        return self.files

    async def __aexit__(self, exception: type[BaseException] | None, *_details: object) -> None:
        try:
            if exception is None and not self.files.closed:
                await self.commit()
        finally:
            await self.rollback()

    def __repr__(self) -> str:
        if self._begun is None:
            return "<brimfs.aio.Transaction that has not begun>"
        return repr(self._begun).replace("brimfs.", "brimfs.aio.", 1)
