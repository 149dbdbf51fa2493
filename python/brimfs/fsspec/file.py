"""An open file of `brim://`: a `brimfs.File` that knows its filesystem and its full name."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from brimfs import File
from brimfs.fsspec.staging import Staged

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from brimfs.fsspec.filesystem import BrimFileSystem


class BrimFile:
    """Reads and writes as `brimfs.File` does, whose methods it has, and has what fsspec adds.

    One that is written aside (`autocommit=False`, or in a transaction) appears under its name when
    `commit` is called, and never after `discard`.
    """

    mode = "rb"
    _staged: Staged | None = None

    def __init__(self, file: File, filesystem: BrimFileSystem, path: str) -> None:
        self._file = file
        self.fs = filesystem
        self.path = path

    @classmethod
    def in_mode(
        cls,
        file: File,
        filesystem: BrimFileSystem,
        path: str,
        mode: str,
        staged: Staged | None = None,
    ) -> Self:
        """One that is not just for reading, or that is written aside."""
        made = cls(file, filesystem, path)
        made.mode = mode
        made._staged = staged
        return made

    def __getattr__(self, name: str) -> Any:
        # A method is looked up once, and then costs what it costs on the handle itself. It may
        # outlive this object, as in `open(path).readlines()`: the handle is never closed unasked.
        value = getattr(self.__dict__["_file"], name)
        if callable(value):
            self.__dict__[name] = value
        return value

    # Those that are mostly called once or twice: looking them up costs more than passing them on.

    def read(self, size: int | None = -1, /) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()

    def write(self, data: Buffer, /) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            if self._staged is not None:
                self._staged.name(error)
            with self.fs._naming(self.path):
                raise

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    @property
    def closed(self) -> bool:
        return self._file.closed

    @property
    def autocommit(self) -> bool:
        return self._staged is None

    @property
    def name(self) -> str:
        return self.path

    @property
    def full_name(self) -> str:
        return f"brim://{self.path}"

    @property
    def size(self) -> int:
        """How many bytes the open file has now."""
        position = self._file.tell()
        size = self._file.seek(0, io.SEEK_END)
        self._file.seek(position)
        return size

    def info(self) -> dict[str, Any]:
        """What `BrimFileSystem.info` says of the name."""
        return self.fs.info(self.path)

    def commit(self) -> None:
        """Let a file that was written aside appear under its name."""
        if self._staged is not None:
            self._file.close()
            with self.fs._naming(self.path):
                self._staged.commit()

    def discard(self) -> None:
        """Throw a file away that was written aside."""
        if self._staged is not None:
            self._file.close()
            with self.fs._naming(self.path):
                self._staged.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._file)

    def __repr__(self) -> str:
        return f"<brim file {self.full_name!r} mode={self.mode!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.mode != "rb":
            raise TypeError(f"a file that is open for writing cannot be pickled: {self.full_name}")
        return _reopen, (self.fs, self.path, self._file.tell())


def _reopen(filesystem: BrimFileSystem, path: str, position: int) -> BrimFile:
    file: BrimFile = filesystem.open(path, "rb")
    file.seek(position)
    return file


io.BufferedIOBase.register(BrimFile)
