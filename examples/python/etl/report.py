"""What the person at the terminal sees: progress while it runs, tables at the end.

On a terminal both are drawn with rich; in a log they are plain lines.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .job import ProgressView

PLAIN_LINE_EVERY_SECONDS = 2.0


class RichProgress:
    """Bars that stay in place, on standard error."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, name: str, done: int, total: int | None) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)


class PlainProgress:
    """One line every two seconds, for logs and pipes, on standard error."""

    def __init__(self) -> None:
        self._state: dict[str, tuple[int, int | None]] = {}
        self._printed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._print()

    def update(self, name: str, done: int, total: int | None) -> None:
        self._state[name] = (done, total)
        if time.monotonic() - self._printed_at >= PLAIN_LINE_EVERY_SECONDS:
            self._print()

    def _print(self) -> None:
        self._printed_at = time.monotonic()
        parts = (f"{name} {done}/{total or '?'}" for name, (done, total) in self._state.items())
        print("  " + ", ".join(parts), file=sys.stderr, flush=True)


def progress_view() -> ProgressView:
    return RichProgress() if sys.stderr.isatty() else PlainProgress()


class Printer:
    """Headings, lines and tables; silent when the result is asked for as JSON."""

    def __init__(self, silent: bool) -> None:
        width = None if sys.stdout.isatty() else 110
        self._console = Console(quiet=silent, width=width, highlight=False)

    def heading(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/bold]")

    def line(self, text: str) -> None:
        self._console.print(text, markup=False)

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        table = Table(title=title, title_justify="left")
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)


def human_size(size: float) -> str:
    """Binary units, one decimal: 5.0 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the loop ends with its last unit")
