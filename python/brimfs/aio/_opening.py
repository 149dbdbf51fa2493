"""What `open` answers: to be awaited, or entered without."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar


class _Closing(Protocol):
    async def close(self) -> None: ...


_F = TypeVar("_F", bound=_Closing)


class Opening(Generic[_F]):
    """A file that is not open yet: `await` opens it; `async with` does, and closes it too."""

    __slots__ = ("_begin", "_file")

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, _F]]) -> None:
        self._begin = begin
        self._file: _F | None = None

    def __await__(self) -> Generator[Any, Any, _F]:
        return self._begin().__await__()

    async def __aenter__(self) -> _F:
        self._file = await self._begin()
        return self._file

    async def __aexit__(self, *_exception: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            await file.close()
