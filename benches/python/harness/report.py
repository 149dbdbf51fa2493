"""The Markdown tables of a run, and the same figures as JSON."""

from __future__ import annotations

import json
from typing import Any

from .measure import REFERENCE, SUBJECT, Measured

DASH = "-"


def markdown(rows: list[Measured], names: list[str]) -> str:
    """The summary, and below it every candidate's median."""
    lines = [
        "| operation | brimfs | best peer | times better | reach | reached |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_summary_line(row) for row in rows]
    others = [name for name in [*names, REFERENCE] if name != SUBJECT]
    lines += ["", f"| operation | {' | '.join(others)} |", "|---" * (len(others) + 1) + "|"]
    for row in rows:
        cells = [_cell(row, name) for name in others]
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _summary_line(row: Measured) -> str:
    best, ratio, reached = row.best_peer(), row.ratio(), row.reached()
    cells = [
        row.title,
        _cell(row, SUBJECT),
        DASH if best is None else f"{best[0]} {row.unit.show(best[1])}",
        DASH if ratio is None else f"{ratio:.1f}",
        row.reach.text,
        DASH if reached is None else "yes" if reached else "**no**",
    ]
    return f"| {' | '.join(cells)} |"


def _cell(row: Measured, name: str) -> str:
    median = row.median(name)
    return DASH if median is None else row.unit.show(median)


def document(rows: list[Measured], versions: dict[str, str]) -> str:
    """Every sample, as one JSON document."""
    entries: list[dict[str, Any]] = [
        {
            "id": row.id,
            "title": row.title,
            "unit": row.unit.name,
            "reach": row.reach.text,
            "times_better": row.ratio(),
            "reached": row.reached(),
            "medians": {name: row.median(name) for name in row.samples},
            "samples": row.samples,
        }
        for row in rows
    ]
    return json.dumps({"versions": versions, "rows": entries}, indent=2, ensure_ascii=False)
