"""Fixtures for tests that want a filesystem and no disk. pytest finds them by entry point.

Filesystems are closed when their test ends. With `--brim-export` what they hold is written to the
host when a test fails, at that moment. Nothing here runs for tests that ask for no fixture of it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pytest

if TYPE_CHECKING:
    import brimfs

__all__ = ["BrimFactory", "SqliteSchema"]

#: SQL, or what makes the tables on a connection; nothing for an empty database.
SqliteSchema: TypeAlias = str | Callable[[sqlite3.Connection], object] | None

_DATABASE = "/database.sqlite"
#: The name of a directory of the host has at most so many bytes of the name of a test.
_NAME_MAX = 120


class BrimFactory(Protocol):
    """Makes filesystems for a test, with the options of its `brim` markers and those given here."""

    def __call__(self, **options: Any) -> brimfs.FileSystem: ...


class _Kept:
    """What a test made."""

    def __init__(self) -> None:
        self.filesystems: list[brimfs.FileSystem] = []
        #: Called before anything is exported.
        self.before_export: list[Callable[[], object]] = []

    def export(self, directory: Path) -> list[str]:
        """Writes out what is open; returns a line about each filesystem."""
        for prepare in self.before_export:
            prepare()
        lines = []
        for number, fs in enumerate(self.filesystems, 1):
            target = directory if len(self.filesystems) == 1 else directory / str(number)
            if fs.closed:
                lines.append(f"{target}: not written, the test closed that filesystem")
                continue
            target.mkdir(parents=True, exist_ok=True)
            try:
                done = fs.export_tree("/", target, links="keep", on_conflict="overwrite")
            except OSError as error:
                # A link may lead out of the tree.
                shutil.rmtree(target)
                done = fs.export_tree("/", target, links="skip", on_conflict="overwrite")
                lines.append(f"{target}: without links ({error})")
            lines.append(f"{target}: {done.files} files, {done.bytes} bytes")
        return lines


_KEPT = pytest.StashKey[_Kept]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--brim-export`."""
    group = parser.getgroup("brimfs")
    group.addoption(
        "--brim-export",
        metavar="DIR",
        help="write what the brimfs fixtures of a failed test hold to DIR/TEST,"
        " in place of what is there",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker."""
    config.addinivalue_line(
        "markers",
        "brim(**options): options of brimfs.FileSystem for the fixtures brim and brim_factory, as"
        ' in brim(quota="16MiB"); those of a function go before those of its class and module',
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Exports what a test that failed just now holds."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    directory = item.config.getoption("--brim-export")
    kept = item.stash.get(_KEPT, None)
    if report.failed and directory and kept is not None and kept.filesystems:
        target = Path(directory).absolute() / _file_name(item.nodeid)
        try:
            if target.exists():
                shutil.rmtree(target)
            lines = kept.export(target)
        except (OSError, ValueError) as error:
            lines = [f"{target}: {error}"]
        report.sections.append(("brimfs exported", "\n".join(lines)))
    return report  # type: ignore[return-value]


def _file_name(nodeid: str) -> str:
    """A name on the host for a test; different for different tests."""
    name = re.sub(r"[^\w.=-]+", "-", nodeid).strip("-.")
    if name == nodeid and len(name.encode()) <= _NAME_MAX:
        return name
    digest = hashlib.sha256(nodeid.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name.encode()[:_NAME_MAX].decode('utf-8', 'ignore')}-{digest}"


@pytest.fixture
def brim_factory(request: pytest.FixtureRequest) -> Iterator[BrimFactory]:
    """Makes fresh filesystems, closed when the test ends: `brim_factory(quota="16MiB")`.

    The options are those of `brimfs.FileSystem`; what `@pytest.mark.brim(...)` says holds unless
    the call says otherwise.
    """
    import brimfs

    kept = request.node.stash.setdefault(_KEPT, _Kept())

    def make(**options: Any) -> brimfs.FileSystem:
        fs = brimfs.FileSystem(**(_marked(request.node) | options))
        kept.filesystems.append(fs)
        return fs

    yield make
    for fs in kept.filesystems:
        fs.close()


def _marked(node: pytest.Item) -> dict[str, Any]:
    """The options of all markers, those nearest to the test last."""
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("brim"))):
        if marker.args:
            raise pytest.UsageError(f"{node.nodeid}: the marker brim takes options by name only")
        options |= marker.kwargs
    return options


@pytest.fixture
def brim(brim_factory: BrimFactory) -> brimfs.FileSystem:
    """A fresh filesystem, with the options of `@pytest.mark.brim(...)`; closed with the test."""
    return brim_factory()


@pytest.fixture(scope="session")
def brim_sqlite_schema() -> SqliteSchema:
    """What every database of `brim_sqlite` begins with: SQL, or a function that gets a connection.

    To be overridden.
    """
    return None


@pytest.fixture(scope="session")
def brim_sqlite_master(brim_sqlite_schema: SqliteSchema) -> Iterator[brimfs.FileSystem]:
    """A snapshot with the database that every test gets a copy of, made once."""
    import brimfs

    connection = sqlite3.connect(":memory:")
    try:
        if isinstance(brim_sqlite_schema, str):
            connection.executescript(brim_sqlite_schema)
        elif brim_sqlite_schema is not None:
            brim_sqlite_schema(connection)
        connection.commit()
        # One without a page cannot be serialized.
        connection.execute("PRAGMA user_version = 0")
        content = connection.serialize()
    finally:
        connection.close()
    with brimfs.FileSystem() as fs:
        fs.write_bytes(_DATABASE, content)
        with fs.snapshot() as master:
            yield master


@pytest.fixture
def brim_sqlite(
    brim_sqlite_master: brimfs.FileSystem, request: pytest.FixtureRequest
) -> Iterator[sqlite3.Connection]:
    """A connection to a database of the test's own, in memory, as `brim_sqlite_schema` made it.

    With `--brim-export` a failed test leaves it as `database.sqlite`.
    """
    kept = request.node.stash.setdefault(_KEPT, _Kept())
    with brim_sqlite_master.branch() as branch:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.deserialize(branch.read_bytes(_DATABASE))

        def save() -> None:
            branch.write_bytes(_DATABASE, connection.serialize())

        kept.filesystems.append(branch)
        kept.before_export.append(save)
        yield connection
        kept.before_export.remove(save)
        connection.close()
