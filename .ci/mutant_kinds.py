"""What sites look like that `mutants.py` takes away, kind by kind, and what stands for them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """An expression, and what stands for it when it is taken away."""

    find: str
    # With the groups of `find`, and {off} for the condition.
    put: str


@dataclass(frozen=True)
class Kind:
    """Sites of one kind."""

    name: str
    # There are so many of them at least.
    least: int
    patterns: tuple[Pattern, ...]


# What a call is made on: a chain of names, perhaps with one call at its end.
ON = r"(?P<on>(?:\w+(?:::|\.))*\w+(?:\(\w*\)\??)?)"
OK = r"(if {off} {{ Ok(()) }} else {{ \g<0> }})"
# A journal's writer says up to where it is durable.
DURABLE = r"(if {off} {{ Ok(\g<on>.durable()) }} else {{ \g<0> }})"
TRUE = r"({off} || \g<0>)"
FALSE = r"(!{off} && \g<0>)"
# What a checksum is compared with.
NUMBER = r"(?:u32::from_le_bytes\(\w+\.array\(\w+\)\)|[\w.]+(?![\w.:(]))"
# A statement of its own.
SKIP = r"\g<indent>if !{off} {{ \g<do> }}"
STATEMENT = r"(?m)^(?P<indent> +)(?P<do>%s)$"


def statement(text: str) -> Pattern:
    return Pattern(STATEMENT % text, SKIP)


# A statement after which something is durable, and one that counts on it, with at most two between.
MAKES_DURABLE = (
    r"\bsync(?:_data|_all)?\(\)|\bwrite_file_header\(|\bmake_durable\("
    r"|\bmake_current\(|\bset_aside\("
)
COUNTS_ON_IT = r"\bwrite_mark\(|\.rename\(|\.append\(|\.put\(|\.clear\(|\.remove\(|\bretire\("
DURABLE_THEN = re.compile(
    r"(?m)^(?P<indent> +)(?P<first>(?! |let )(?:[^\n;{}]*=\n)?[^\n;{}]*"
    rf"(?:{MAKES_DURABLE})[^\n;{{}}]*;\n)"
    r"(?P<between>(?:(?P=indent)(?! |let )[^\n{}]*;\n){0,2}?)"
    r"(?P<second>(?P=indent)(?! |let )[^\n;{}]*"
    rf"(?:{COUNTS_ON_IT})[^\n{{}}]*;\n)"
)


KINDS = (
    Kind(
        "flush",
        38,
        (
            Pattern(ON + r"\.sync_(?:data|all)\(\)", OK),
            Pattern(r"(?:self\.segments|store)\.close\(\)(?=\?;|\.and)", OK),
            Pattern(r"journal::make_durable\([^()]*\)", OK),
            Pattern(r"(?P<on>\bwriter)\.sync\(\)", DURABLE),
            Pattern(r"(?P<on>\bself)\.sync\(\)(?=\?;)", DURABLE),
            Pattern(r"(?<!\.)(?!(?:self|writer)\.sync\(\)(?:\?;|\.map))" + ON + r"\.sync\(\)", OK),
        ),
    ),
    Kind(
        "checksum",
        33,
        (
            Pattern(r"crc32c::crc32c\([^()]*\) == " + NUMBER, TRUE),
            Pattern(r"\w+\(&header, [^()]*\) == Some\(crc32c::crc32c\([^()]*\)\)", TRUE),
            Pattern(r"crc32c::crc32c\([^()]*\) != [\w.]+", FALSE),
            Pattern(r"bytes\.starts_with\(&(?:\w+\.encode\(\)|encoded)\)", TRUE),
            Pattern(r"\*self != Self::header\([^()]*\)", FALSE),
            Pattern(r"\bright == \*tag", TRUE),
            Pattern(r"self\.seal_header\(\w+, \w+\) == \*seal", TRUE),
            Pattern(r"sealed\[\.\.HEADER\] != header\.0", FALSE),
            Pattern(r"self\.sealer\.open_header\(\w+, \w+, \w+\)\.is_err\(\)", FALSE),
            Pattern(r"\w+\.chain != [\w.]+", FALSE),
            Pattern(r"\bchain == [\w.]+", TRUE),
            Pattern(r"\bknown == frame\.checkpoint", TRUE),
            Pattern(r"(?<!\.)header\.identity != identity\b", FALSE),
            Pattern(r"\*[\w.]+\.get_or_insert\(group\.identity\) == group\.identity", TRUE),
            Pattern(r"\b(?:header|group)\.file == (?:number|file)\b(?!\.)", TRUE),
            Pattern(r"\bheader\.position\.group == group\b", TRUE),
            Pattern(r"\([\w., ]*\.chain\) == \([\w., ]*\)", TRUE),
            Pattern(r"\([\w., ]*\.checkpoint\) == \(\w+, \w+\.checksum\(\)\)", TRUE),
            Pattern(r"\(group\.identity, [\w., ]*\) (?:!=) \w+", FALSE),
            Pattern(r"\(group\.identity, [\w., ]*\) == \([\w., ]*\)", TRUE),
            Pattern(
                r"\*self\.identity\.get_or_insert\(header\.identity\) != header\.identity", FALSE
            ),
            Pattern(r"its_(?:identity|serial) != [\w:*]+(?:\(\w+\))?", FALSE),
            Pattern(r"Footer::decode\(&payload\) != Some\(found\)", FALSE),
            Pattern(r"\*known != sum\b", FALSE),
        ),
    ),
    Kind(
        "barrier",
        26,
        (
            # Nothing is written after a flush failed.
            statement(r"[\w.]+\.check_poison\(\)\?;"),
            statement(r"self\.home\.check_writable\(\)\?;"),
            statement(r"unsynced\.check\(\)\?;"),
            statement(r"[\w.]+\.poison = Some\([^;]*;"),
            Pattern(r"(?<=if )!(?:is_said|poisoned)(?= \{)", TRUE),
            statement(r"\*is_said = true;"),
            # Space before anything is accepted.
            statement(r"\w+\.reserve\(group\.len\(\)\)\?;"),
            # What the next flush covers.
            statement(r"named\.mark\(&[\w.]+\);"),
            statement(r"self\.unsynced\.lock\(\)\.names = true;"),
            Pattern(
                r"let _one_at_a_time = (?P<lock>[\w.]+\.lock\(\));",
                r"let _one_at_a_time = (!{off}).then(|| \g<lock>);",
            ),
            # One file is done with before the next one is used.
            statement(r"\w+\.write_mark\([^;]*\)\?;"),
            statement(r"self\.check_unfinished\([^;]*\)\?;"),
            Pattern(
                r"return self\.check_tail\(",
                r"if {off} {{ return Ok(()); }} \g<0>",
            ),
            # What moved is needed at its old place until its new one is durable.
            Pattern(r"(?<=if )self\.home\.named\(\)\.is_none\(\)(?= \{)", TRUE),
        ),
    ),
)
