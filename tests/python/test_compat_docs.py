"""What the pages about moving to brimfs show works, and the examples in the facades."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from brimfs.compat import dmemfs, memfs

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["dmemfs", "memfs"])
def test_the_snippets_run(name, run_script):
    page = (DOCS / f"from-{name}.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 2
    done = run_script("\n".join(snippets))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("package", [dmemfs, memfs])
def test_the_examples_of_the_packages_run(package):
    result = doctest.testmod(package)
    assert (result.failed, result.attempted > 0) == (0, True)
