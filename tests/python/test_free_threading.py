"""Interpreters without the interpreter lock.

The stable ABI does not exist for them before Python 3.15, so the abi3 wheel cannot be used there:
the extension is built again, for that one interpreter. Without one on this machine the declaration
is all there is, and it is untested.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STRESS = """
import sys, threading
assert not sys._is_gil_enabled()
import brimfs
assert not sys._is_gil_enabled(), "importing brimfs turned the lock on"
fs = brimfs.FileSystem(memory_limit="256MiB", lock_timeout=30)
content = bytes(5000)
shared = fs.open("/shared", "wb")

def work(index):
    for number in range(300):
        path = f"/n{number % 17}"
        fs.write_bytes(path, content)
        assert len(fs.read_bytes(path)) == 5000
        assert fs.exists(path)
        fs.listdir("/")
        shared.write(b"x" * 10)
        with fs.open(f"/own{index}", "ab") as file:
            file.write(b"y")

threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert shared.tell() == 8 * 300 * 10
shared.close()
fs._audit()
print("fine")
"""


def find_free_threaded():
    """An interpreter without the lock, or None."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python3.{minor}t") for minor in range(13, 20)]
    candidates += [str(path) for path in root.glob("versions/*t/bin/python")]
    for candidate in filter(None, candidates):
        probe = "import sysconfig; print(sysconfig.get_config_var('Py_GIL_DISABLED'))"
        try:
            done = subprocess.run([candidate, "-c", probe], capture_output=True, check=False)
        except OSError:
            continue
        if done.stdout.strip() == b"1":
            return candidate
    return None


def test_the_extension_does_not_turn_the_lock_on(tmp_path):
    python = find_free_threaded()
    if python is None:
        pytest.skip(
            "no free-threaded interpreter found: that brimfs is safe without the interpreter lock "
            "is declared but untested here"
        )
    env = tmp_path / "env"
    subprocess.run([python, "-m", "venv", env], check=True)
    build = [sys.executable, "-m", "maturin", "build", "--profile", "dev", "-i", env / "bin/python"]
    subprocess.run([*build, "--out", tmp_path], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert "abi3" not in wheel.name
    python = env / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--no-index", wheel], check=True)
    done = subprocess.run(
        [python, "-c", STRESS], capture_output=True, text=True, timeout=250, check=False
    )
    assert done.stdout == "fine\n", done.stderr


def test_this_interpreter_has_the_lock_or_is_left_without():
    import brimfs

    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled()
    assert brimfs.__version__
