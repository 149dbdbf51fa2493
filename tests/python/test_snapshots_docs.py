"""What the page about snapshots shows works."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "snapshots.md"


def test_the_snippets_run(run_script):
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) == 4
    done = run_script("\n".join(snippets))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "id",
        "1",
        "",
        "<brimfs.Diff 1 added, 1 changed, 0 removed, 0 renamed>",
        "('/data/b.csv',)",
        "['a.csv']",
        "False",
        "9",
        "/stock",
        "<brimfs.Usage 500000 bytes private, 1000000 shared>",
    ]
