"""Patterns of paths as regular expressions."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(256)
def pattern_of(pattern: str) -> re.Pattern[str]:
    parts = [part for part in pattern.replace("\\", "/").split("/") if part]
    expression = ""
    for number, part in enumerate(parts, 1):
        if part == "**":
            # As the last component it stands for all that is below.
            expression += "/.+" if number == len(parts) else "(?:/[^/]+)*"
        else:
            expression += "/" + _SIGN.sub(_translated, part)
    return re.compile(expression or "(?!)", re.DOTALL)


_SIGN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
"""What stands for something in a name: stars, a question mark, a set, or the character itself."""


def _translated(found: re.Match[str]) -> str:
    sign = found.group()
    if sign[0] == "*":
        return "[^/]*"
    if sign == "?":
        return "[^/]"
    if len(sign) > 2:
        inner = sign[1:-1].removeprefix("!")
        escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner)
        return f"(?!/)[{'^' if sign[1] == '!' else ''}{escaped}]"
    return re.escape(sign)
