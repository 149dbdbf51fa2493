"""What the page about fsspec shows works."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "fsspec.md"


def test_the_snippets_run(run_script):
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) == 3
    # pyarrow leaves it to the collector to close what it read.
    quiet = "import warnings\nwarnings.simplefilter('ignore', ResourceWarning)\n"
    done = run_script(quiet + "\n".join(snippets))
    assert (done.returncode, done.stderr) == (0, "")
