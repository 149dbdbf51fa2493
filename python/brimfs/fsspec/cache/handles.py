"""Open files of `brimcache::`: those that are read from the cache, and those that are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from fsspec.transaction import Transaction  # type: ignore[import-untyped]

from brimfs.fsspec.file import BrimFile


class CachedFile(BrimFile):
    """A file of the cache: complete, and the same until it is closed, whatever becomes of it."""

    @property
    def full_name(self) -> str:
        name: str = self.fs.unstrip_protocol(self.path)
        return name

    @property
    def original(self) -> str:
        """Its name at the remote, which tells what it is compressed with."""
        return self.path

    def __repr__(self) -> str:
        return f"<cached file {self.full_name!r}>"


class WrittenFile:
    """A file of the remote that is open for writing; the cache forgets it when it is closed.

    It has the methods of that file.
    """

    def __init__(self, file: Any, changed: Callable[[], None]) -> None:
        self._file = file
        self._changed = changed
        self._over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_file"], name)

    @property
    def closed(self) -> bool:
        # Closing a file of `memory://` changes nothing about it.
        return self._over or self._file.closed

    def close(self) -> None:
        if self._over:
            return
        self._over = True
        try:
            self._file.close()
        finally:
            self._changed()

    def commit(self) -> None:
        """Let a file that was written aside appear under its name."""
        try:
            self._file.commit()
        finally:
            self._changed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._file)

    def __next__(self) -> bytes:
        line: bytes = next(self._file)
        return line

    def __del__(self) -> None:
        # As the files of fsspec do: what nobody closed is written nevertheless.
        with suppress(Exception):
            self.close()


class ThroughTransaction(Transaction):  # type: ignore[misc] # fsspec has no types
    """A transaction of the cache, and of the remote filesystem with it.

    Some filesystems look at that, and not at how a file is opened.
    """

    def start(self) -> None:
        super().start()
        self.fs.fs.start_transaction()

    def complete(self, commit: bool = True) -> None:
        remote = self.fs.fs
        try:
            super().complete(commit)
        finally:
            remote.transaction.complete(commit)
            remote._intrans, remote._transaction = False, None
