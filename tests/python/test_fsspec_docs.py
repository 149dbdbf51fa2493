"""What the pages about fsspec show works."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("page", "count"), [("fsspec.md", 3), ("cache.md", 3)])
def test_the_snippets_run(run_script, tmp_path, page, count):
    text = (DOCS / page).read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(snippets) == count
    # pyarrow leaves it to the collector to close what it read; what is kept is kept elsewhere.
    begin = f"""
import os, warnings
warnings.simplefilter('ignore', ResourceWarning)
os.chdir({os.fspath(tmp_path)!r})
"""
    done = run_script(begin + "\n".join(snippets))
    assert (done.returncode, done.stderr) == (0, "")
