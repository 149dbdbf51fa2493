"""What `brim://` tells of files and directories: the entries of `info` and `ls`.

The fields are those of fsspec's local filesystem, so that the same programs find theirs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any

from brimfs import FileSystem
from brimfs.fsspec.staging import DIRECTORY

Info = dict[str, Any]


def root_info(name: str) -> Info:
    return {"name": name, "size": 0, "type": "directory"}


_TYPES = {stat.S_IFDIR: "directory", stat.S_IFREG: "file"}


def info_of(path: str, found: os.stat_result) -> Info:
    mode = found.st_mode
    kind = _TYPES.get(stat.S_IFMT(mode), "other")
    return {
        "name": path,
        "size": 0 if kind == "directory" else found.st_size,
        "type": kind,
        "created": found.st_ctime,
        "islink": False,
        "mode": mode,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mtime": found.st_mtime,
        "ino": found.st_ino,
        "nlink": found.st_nlink,
    }


def link_info(store: FileSystem, path: str, inner: str, link: os.stat_result) -> Info:
    """That of what the link leads to; one that leads nowhere is neither file nor directory."""
    try:
        info = info_of(path, store.stat(inner))
    except OSError:
        info = info_of(path, link)
    return {**info, "islink": True, "destination": store.readlink(inner)}


def entries(store: FileSystem, path: str, inner: str) -> Iterator[Info]:
    for entry in store.scandir(inner):
        if inner == "/" and entry.name == DIRECTORY:
            continue
        name = f"{path}/{entry.name}"
        try:
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                yield link_info(store, name, entry.path, found)
            else:
                yield info_of(name, found)
        except FileNotFoundError:
            # Somebody removed it meanwhile.
            continue


def sort_out(
    path: str, listing: Iterable[Info]
) -> tuple[dict[str, Info], dict[str, Info], set[str]]:
    """Directories and files by their names, and the names of links; a file lists itself as ""."""
    dirs: dict[str, Info] = {}
    files: dict[str, Info] = {}
    links: set[str] = set()
    for info in listing:
        name = info["name"].rpartition("/")[2] if info["name"] != path else ""
        if info["type"] == "directory":
            dirs[name] = info
        else:
            files[name] = info
        if info.get("islink"):
            links.add(name)
    return dirs, files, links
