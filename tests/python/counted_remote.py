"""A remote filesystem for tests: it counts calls, and does what a hook says while it sends."""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections import Counter
from collections.abc import Callable

from fsspec.spec import AbstractFileSystem

PIECE = 1000
"""What the tests make of the size of a request, so that small files are read in pieces."""


class Counted(AbstractFileSystem):
    """Files in memory, by their names; directories are where there are files below.

    `sized` tells sizes, `tells` is the field of `info` with the version, or None, `listings` keeps
    what it said of a file until `invalidate_cache`.
    """

    protocol = "counted"
    cachable = False

    def __init__(self, sized=True, tells="ETag", listings=False):
        super().__init__()
        self.files: dict[str, tuple[bytes, int]] = {}
        self.calls: Counter[str] = Counter()
        self.hook: Callable[[str, int], None] | None = None
        """Called with the path and the position before each piece is sent."""
        self.sized = sized
        self.tells = tells
        self.listed: dict[str, dict] | None = {} if listings else None
        self._versions = itertools.count()

    def put_content(self, path, content):
        """Change a file, as somebody else does."""
        self.files[path] = (content, next(self._versions))

    def content(self, path):
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.files[path][0]

    def _sends(self, path, position):
        self.calls["piece"] += 1
        if self.hook is not None:
            self.hook(path, position)

    # what fsspec calls

    def info(self, path, **kwargs):
        path = self._strip_protocol(path)
        self.calls["info"] += 1
        if self.listed is not None and path in self.listed:
            return self.listed[path]
        if path not in self.files and any(each.startswith(f"{path}/") for each in self.files):
            return {"name": path, "size": 0, "type": "directory"}
        content = self.content(path)
        info = {"name": path, "size": len(content) if self.sized else None, "type": "file"}
        if self.tells is not None:
            info[self.tells] = self.files[path][1]
        if self.listed is not None:
            self.listed[path] = info
        return info

    def ukey(self, path):
        """No word about the version, as that of HTTP, unless there is no other one."""
        return "" if self.tells is not None else str(self.files[path][1])

    def invalidate_cache(self, path=None):
        if self.listed is not None and path is not None:
            self.listed.pop(path, None)

    def ls(self, path, detail=True, **kwargs):
        path = self._strip_protocol(path)
        if path in self.files:
            names = [path]
        else:
            below = f"{path}/" if path else ""
            inner = [name[len(below) :] for name in self.files if name.startswith(below)]
            names = sorted({below + name.partition("/")[0] for name in inner})
        return [self.info(name) for name in names] if detail else names

    def cat_file(self, path, start=None, end=None, **kwargs):
        path = self._strip_protocol(path)
        self.calls["cat"] += 1
        content = self.content(path)
        self._sends(path, 0)
        return content[start:end]

    def _open(self, path, mode="rb", **kwargs):
        self.calls[f"open {mode}"] += 1
        if mode == "rb":
            self.content(path)
            return _Read(self, path)
        return _Written(self, path)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self.put_content(self._strip_protocol(path), bytes(value))

    def cp_file(self, path1, path2, **kwargs):
        if not self.isdir(path1):
            self.put_content(self._strip_protocol(path2), self.content(self._strip_protocol(path1)))

    def rm_file(self, path):
        path = self._strip_protocol(path)
        self.content(path)
        del self.files[path]

    def rm(self, path, recursive=False, maxdepth=None):
        for each in self.expand_path(path, recursive=recursive, maxdepth=maxdepth):
            if not self.isdir(each):
                self.rm_file(each)

    def mkdir(self, path, create_parents=True, **kwargs):
        pass

    def makedirs(self, path, exist_ok=False):
        pass


class _Read(io.RawIOBase):
    """Reads what the file has at that moment, as a file of a server does."""

    def __init__(self, remote, path):
        self._remote = remote
        self._path = path
        self._position = 0

    def readable(self):
        return True

    def read(self, size=-1):
        self._remote._sends(self._path, self._position)
        content = self._remote.content(self._path)
        end = len(content) if size is None or size < 0 else self._position + size
        piece = content[self._position : end]
        self._position += len(piece)
        return piece


class _Written(io.BytesIO):
    def __init__(self, remote, path):
        super().__init__()
        self._remote = remote
        self._path = path

    def close(self):
        if not self.closed:
            self._remote.put_content(self._path, self.getvalue())
        super().close()
