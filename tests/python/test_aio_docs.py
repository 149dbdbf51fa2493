"""What the page about asyncio shows works."""

import doctest
import re
from pathlib import Path

import brimfs.aio

PAGE = Path(__file__).parents[2] / "docs" / "asyncio.md"


def test_the_snippets_run(run_script):
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) == 3
    # The loop is in debug mode, and says what takes long on this machine.
    quiet = "import logging\nlogging.getLogger('asyncio').setLevel(logging.ERROR)\n"
    done = run_script(quiet + "\n".join(snippets))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "id,name",
        "1,Ada",
        "/ []",
        "/staging ['a.csv']",
        "100 0",
        "PLAIN",
    ]


def test_the_example_of_the_module_runs():
    result = doctest.testmod(brimfs.aio)
    assert (result.failed, result.attempted > 0) == (0, True)
