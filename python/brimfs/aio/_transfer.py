"""Archives and trees of the host, in a thread that stops when its task is cancelled."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from brimfs import _brimfs
from brimfs.aio._calls import Caller
from brimfs.aio._file import File
from brimfs.aio._threads import patiently

_P = ParamSpec("_P")
_T = TypeVar("_T")


def transferring(
    method: Callable[Concatenate[_brimfs.FileSystem, _P], _T],
) -> Callable[Concatenate[Caller, _P], Coroutine[Any, Any, _T]]:
    """A method that reports its progress, and is stopped by it once its task is cancelled."""

    @functools.wraps(method)
    async def call(self: Caller, /, *args: _P.args, **keywords: _P.kwargs) -> _T:
        cancelled = threading.Event()
        told: Any = keywords.get("progress")

        def progress(*news: object) -> object:
            return False if cancelled.is_set() else told is None or told(*news)

        if told is None or callable(told):
            keywords["progress"] = progress
        plain: Any = method
        named = {name: _plain(value) for name, value in keywords.items()}
        transfer = functools.partial(plain, self._fs, *map(_plain, args), **named)
        return await patiently(transfer, cancelled.set)

    return call


def _plain(argument: object) -> object:
    """A stream as the thread reads or writes it."""
    return argument._file if isinstance(argument, File) else argument
