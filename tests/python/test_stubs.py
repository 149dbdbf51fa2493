"""The type stubs say what the module has, and the package is typed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import brimfs

PACKAGE = Path(brimfs.__file__).parent
ALLOWED = Path(__file__).with_name("stubs_allowed.txt")


def run(tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_the_stubs_fit_the_module(tmp_path):
    pytest.importorskip("mypy")
    done = run(
        tmp_path,
        "mypy.stubtest",
        "brimfs",
        "--allowlist",
        str(ALLOWED),
        "--ignore-unused-allowlist",
    )
    assert done.returncode == 0, done.stdout


def test_a_program_that_uses_it_type_checks(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(
        textwrap.dedent(
            """\
            import io
            from pathlib import PurePosixPath
            import brimfs

            with brimfs.FileSystem(quota="1MiB", memory_limit=0.5) as fs:
                text: io.TextIOWrapper = fs.open("/a", "w")
                binary: brimfs.File = fs.open(PurePosixPath("/a"), "r+b")
                names: list[str] = fs.listdir()
                byte_names: list[bytes] = fs.listdir(b"/")
                content: bytes = fs.read_bytes("/a")
                for path, dirs, files in fs.walk("/"):
                    dirs.clear()
                    path.upper()
                used: int = fs.stats().quota_used
                memory = memoryview(fs.view("/a"))
                buffered: io.BufferedIOBase = binary
                entry = next(fs.scandir("/"))
                entry.name.upper()
                fs.read_bytes(entry)
                fs.write_bytes("/a", b"", priority=7)
                why: brimfs.Explanation = fs.explain("/a")
                cause: str | None = why.spill_cause
                report: brimfs.PreloadReport = fs.preload(["/a", b"/b"], priority=3).result()
                freed: int = fs.gc(0.5).written_bytes
                ops: list[str] = [entry.op for entry in fs.operation_log()]
                fs.sync()
                binary.sync()
                with brimfs.FileSystem("data", durability=0.5, read_only=False) as kept:
                    kept.close()
                brimfs.FileSystem(PurePosixPath("data"), durability="sync")
                reveal_type(fs.copy("/a", "/b"))
            """
        )
    )
    done = run(tmp_path, "mypy", "--strict", "program.py")
    assert "error" not in done.stdout, done.stdout
    assert 'Revealed type is "str"' in done.stdout.replace("builtins.", "")


def test_wrong_programs_do_not(tmp_path):
    pytest.importorskip("mypy")
    lines = [
        'fs.open("/a", "rb").write("text")',
        'fs.write_bytes("/a", "text")',
        "fs.read_bytes(5)",
        'brimfs.FileSystem(None, "1MiB")',
        "brimfs.FileSystem(5)",
        'brimfs.FileSystem("data", durability="often")',
        "brimfs.FileSystem(unknown=1)",
        'fs.open("/a", lock="always")',
        "fs.stats().files = 5",
        'brimfs.FileSystem(policy="fifo")',
        'fs.write_bytes("/a", b"", 7)',
        'fs.explain("/a").kept = "worth"',
    ]
    (tmp_path / "program.py").write_text(
        "import brimfs\nfs = brimfs.FileSystem()\n" + "\n".join(lines) + "\n"
    )
    done = run(tmp_path, "mypy", "--strict", "program.py")
    for number in range(3, 3 + len(lines)):
        assert f"program.py:{number}: error" in done.stdout, lines[number - 3]


def test_the_marker_is_installed():
    assert (PACKAGE / "py.typed").exists()
    assert (PACKAGE / "_brimfs.pyi").exists()
