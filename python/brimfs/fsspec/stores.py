"""The stores of the process behind `brim://`, by name, and the options they were made with.

Knows nothing of fsspec. Looking a store up takes no lock; making and forgetting one does.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Mapping
from typing import Any

from brimfs import Budget, FileSystem
from brimfs.fsspec.locks import ForkedLock

Options = Mapping[str, Any]

stores: dict[str, FileSystem] = {}
"""What is looked up; changed by the functions of this module only."""

_made_with: dict[str, Options] = {}
_lock = ForkedLock()
_SIZES = ("quota", "memory_limit", "disk_limit")


_START = uuid.uuid4().hex


def process() -> str:
    """This process and no other one, a forked child included."""
    return f"{os.getpid()}-{_START}"


def url(name: str, inner: str = "") -> str:
    """The full name of `inner`, a path within the store that begins with a slash."""
    return f"brim://{name}{inner}"


def normal(options: Options) -> Options:
    """Options as they are compared: those that were given, sizes in bytes."""
    given = {key: value for key, value in options.items() if value is not None}
    for key in _SIZES:
        if isinstance(given.get(key), str):
            given[key] = Budget(given[key]).limit
    if isinstance(given.get("spill_dir"), os.PathLike):
        given["spill_dir"] = os.fspath(given["spill_dir"])
    return given


def find(name: str, options: Options) -> FileSystem:
    """The store of that name, unless it was made otherwise than `options` ask."""
    found = stores.get(name)
    if found is None:
        raise missing(name)
    _check(name, options)
    return found


def find_or_make(name: str, options: Options) -> FileSystem:
    """The store of that name; made with `options` if there is none."""
    _check_name(name)
    with _lock:
        found = stores.get(name)
        if found is None:
            found = FileSystem(**options)
            _made_with[name] = options
            stores[name] = found
            return found
    _check(name, options)
    return found


def missing(name: str, inner: str = "", why: str = "") -> FileNotFoundError:
    """The error that tells of a store that there is not."""
    # Whoever lost it in another process is to see that from the message.
    text = f"Process {os.getpid()} has no store {name!r}{why}"
    return FileNotFoundError(errno.ENOENT, text, url(name, inner))


def _check_name(name: str) -> None:
    if not name or name in (".", ".."):
        raise ValueError(f"{url(name)!r} names no store: brim://NAME/path")


def _check(name: str, options: Options) -> None:
    made_with = _made_with.get(name, {})
    for key, value in options.items():
        if made_with.get(key) != value:
            has = f"{key}={made_with[key]!r}" if key in made_with else f"no {key}"
            raise ValueError(
                f"the store {url(name)} exists with {has}, and {key}={value!r} was asked for; "
                f"leave the option out, or clear({name!r}) first"
            )


def store(name: str) -> FileSystem:
    """The filesystem behind `brim://NAME`; `FileNotFoundError` where nothing made it."""
    return find(name, {})


def register(name: str, filesystem: FileSystem) -> None:
    """Make `brim://NAME` that filesystem; its owner closes it, not `clear`."""
    _check_name(name)
    if "/" in name:
        raise ValueError(f"the name of a store has no slash: {name!r}")
    stats = filesystem.stats()
    limits = {
        "quota": stats.quota_limit,
        "memory_limit": stats.memory_limit,
        "max_nodes": stats.max_nodes,
        "disk_limit": stats.disk_limit,
    }
    with _lock:
        if stores.setdefault(name, filesystem) is not filesystem:
            raise FileExistsError(errno.EEXIST, "Another store has the name", url(name))
        _made_with[name] = normal(limits)


def clear(name: str | None = None) -> None:
    """Forget the store of that name, or all of them; its memory is free when nobody has it open.

    Nothing happens to a filesystem that was registered, but that the name is free.
    """
    with _lock:
        for each in list(stores) if name is None else [name]:
            stores.pop(each, None)
            _made_with.pop(each, None)
