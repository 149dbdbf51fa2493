"""What the README and the package's own documentation show works."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import brimfs

README = Path(__file__).parents[2] / "README.md"


def test_the_python_of_the_readme_runs(capsys, tmp_path, monkeypatch):
    # What is kept is kept here.
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) > 2
    exec(compile("\n".join(snippets), str(README), "exec"), {})
    assert (tmp_path / "data").is_dir()
    assert "It is in memory because it is pinned." in capsys.readouterr().out


def test_the_example_of_the_package_runs():
    result = doctest.testmod(brimfs)
    assert (result.failed, result.attempted > 0) == (0, True)
