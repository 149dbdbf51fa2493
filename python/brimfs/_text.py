"""Text in and out of whole files, with the rules of the built-in `open`.

One difference: without an encoding it is UTF-8, whatever the locale says.
"""

from __future__ import annotations

import io
import os
import sys
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brimfs import File

_NEWLINES = (None, "", "\n", "\r", "\r\n")


def check_newline(newline: str | None) -> None:
    """Raise what the built-in `open` raises for a `newline` that it does not know."""
    if newline is not None and not isinstance(newline, str):
        raise TypeError(f"newline must be str or None, not {type(newline).__name__}")
    if newline not in _NEWLINES:
        raise ValueError(f"illegal newline value: {newline!r}")


_PLAIN = frozenset(("utf-8", "utf8", "UTF-8", "ascii", "latin-1"))
"""Encodings without a state, a byte order mark or a meaning that depends on the locale."""


def decode(
    content: bytes,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> str:
    """The text of a whole file, newlines translated as `io.TextIOWrapper` does it."""
    check_newline(newline)
    encoding = "utf-8" if encoding is None else encoding
    if encoding not in _PLAIN:
        source = io.BytesIO(content)
        with io.TextIOWrapper(source, encoding=encoding, errors=errors, newline=newline) as wrapper:
            return wrapper.read()
    text = content.decode(encoding, errors or "strict")
    if newline is None and "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def encode(
    text: str,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> bytes:
    """The bytes of a whole text file, newlines translated as `io.TextIOWrapper` does it."""
    check_newline(newline)
    if not isinstance(text, str):
        raise TypeError(f"data must be str, not {type(text).__name__}")
    encoding = "utf-8" if encoding is None else encoding
    if encoding not in _PLAIN:
        target = io.BytesIO()
        with io.TextIOWrapper(target, encoding=encoding, errors=errors, newline=newline) as wrapper:
            wrapper.write(text)
            wrapper.flush()
            return target.getvalue()
    newline = os.linesep if newline is None else newline
    if newline not in ("", "\n"):
        text = text.replace("\n", newline)
    return text.encode(encoding, errors or "strict")


def wrap(
    file: File,
    mode: str,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    line_buffering: bool,
    is_kept: bool,
) -> io.TextIOWrapper:
    """A text file over a binary handle, which is closed if that fails.

    `is_kept` says that the filesystem has a store, so nothing may be lost in a buffer.
    """
    try:
        wrapper = io.TextIOWrapper(
            file,
            encoding="utf-8" if encoding is None else encoding,
            errors=errors,
            newline=newline,
            line_buffering=line_buffering,
        )
    except BaseException:
        file.close()
        raise
    wrapper.mode = mode  # type: ignore[misc] # as the built-in `open` does it
    if is_kept and file.writable():
        _kept.add(wrapper)
    return wrapper


_kept: weakref.WeakSet[io.TextIOWrapper] = weakref.WeakSet()
"""Text files that write to a store, as long as somebody has them."""


def flush_kept() -> None:
    """Pass on what text files buffer that nobody closed; called at exit."""
    for wrapper in list(_kept):
        if wrapper.closed:
            continue
        try:
            wrapper.flush()
        except Exception:
            sys.excepthook(*sys.exc_info())
