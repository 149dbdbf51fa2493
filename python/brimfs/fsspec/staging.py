"""Files that are written aside in their store and get their name at once, when they are complete.

They lie in a directory of the store that `brim://` never lists, so that quota and memory limit
count them from the first byte.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from brimfs import FileSystem
from brimfs.fsspec.locks import ForkedLock

DIRECTORY = ".brim-staged"
"""In the root of the store, while there are staged files."""

_numbers = itertools.count()
_lock = ForkedLock()
"""Keeps the directory while somebody is about to put a file into it."""


class Staged:
    """An empty file, or a copy of the target's content, that becomes the target by `commit`."""

    def __init__(
        self, filesystem: FileSystem, target: str, *, exclusive: bool = False, append: bool = False
    ) -> None:
        self.path = f"/{DIRECTORY}/{next(_numbers)}"
        self._filesystem = filesystem
        self._target = target
        self._exclusive = exclusive
        try:
            with _lock:
                filesystem.mkdir(f"/{DIRECTORY}", exist_ok=True)
                if append and filesystem.is_file(target):
                    filesystem.copy(target, self.path)
                else:
                    filesystem.write_bytes(self.path, b"")
        except BaseException:
            self._tidy()
            raise

    def commit(self) -> None:
        """Give it its name: instead of what has it, or not at all if that is to be new."""
        make_parent(self._filesystem, self._target)
        with self.naming():
            if self._exclusive:
                self._filesystem.link(self.path, self._target)
            else:
                self._filesystem.rename(self.path, self._target)
        self.discard()

    def discard(self) -> None:
        """Forget it; what is gone already stays so."""
        with suppress(FileNotFoundError):
            self._filesystem.remove(self.path)
        self._tidy()

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Errors name the target, and not where it lies meanwhile."""
        try:
            yield
        except OSError as error:
            self.name(error)
            raise

    def name(self, error: OSError) -> None:
        """Let an error name the target."""
        if error.filename == self.path:
            error.filename = self._target
            del error.filename2

    def _tidy(self) -> None:
        """Remove the directory with the last of its files."""
        with _lock, suppress(FileNotFoundError):
            if not self._filesystem.listdir(f"/{DIRECTORY}"):
                self._filesystem.rmdir(f"/{DIRECTORY}")


def make_parent(filesystem: FileSystem, path: str) -> None:
    """Make the directories above `path`."""
    parent = path.rpartition("/")[0]
    if parent:
        filesystem.mkdir(parent, parents=True, exist_ok=True)
