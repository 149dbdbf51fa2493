"""Open files of `brimcache::`: those that are read from the cache, and those that are written."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from fsspec.transaction import Transaction  # type: ignore[import-untyped]

from brimfs import File
from brimfs.fsspec.file import BrimFile

# fmt: off
_READING = frozenset((
    "read1", "readall", "readinto", "readinto1", "peek", "readline", "readlines", "view",
    "getbuffer",
))
# fmt: on


class CachedFile(BrimFile):
    """A file of the cache: complete, and the same until it is closed, whatever becomes of it.

    What cannot be read back from the disk is an error, and fetched again when it is opened again.
    """

    def __init__(
        self, file: File, filesystem: Any, path: str, damaged: Callable[[str], None]
    ) -> None:
        super().__init__(file, filesystem, path)
        self._damaged = damaged

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        if name in _READING:
            value = self.__dict__[name] = partial(self._guarded, value)
        return value

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            if error.errno == errno.EIO:
                self._damaged(self.path)
            raise

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            if error.errno == errno.EIO:
                self._damaged(self.path)
            raise

    def __next__(self) -> bytes:
        line: bytes = self._guarded(self._file.__next__)
        return line

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
