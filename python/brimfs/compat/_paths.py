"""Paths of the older packages: text, backslashes as slashes, resolved as text alone."""

from __future__ import annotations


def parts(path: str) -> tuple[str, ...]:
    """The components of a path below the root; the empty tuple is the root.

    Backslashes are slashes, a relative path starts at the root, `.` and empty components are
    nothing, `..` is resolved without a look at what exists.

    Raises `TypeError` for what is no `str`, and `ValueError` for a path that at any of its
    components leads above the root."""
    if not isinstance(path, str):
        raise TypeError(f"path must be str, not {type(path).__name__}")
    if (
        path[:1] == "/"
        and path[-1] != "/"
        and "/." not in path
        and "//" not in path
        and "\\" not in path
    ):
        return tuple(path[1:].split("/"))
    found: list[str] = []
    for part in path.replace("\\", "/").split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            found.append(part)
        elif found:
            found.pop()
        else:
            raise ValueError(f"path leads above the root: {path!r}")
    return tuple(found)


def joined(components: tuple[str, ...] | list[str]) -> str:
    """The absolute path with these components."""
    return "/" + "/".join(components)
