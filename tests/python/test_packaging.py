"""What is shipped: an abi3 wheel that installs alone, and an sdist that builds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USE = """
import brimfs
with brimfs.FileSystem(memory_limit="64MiB") as fs:
    fs.write_text("/a", "works")
    with fs.open("/a") as file:
        print(file.read(), brimfs.__version__)
"""

pytestmark = pytest.mark.skipif(
    shutil.which("cargo") is None or not (ROOT / "Cargo.toml").exists(),
    reason="needs the sources and cargo to build",
)


def run(*command, cwd=ROOT, timeout=1500):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def one(directory, pattern):
    (found,) = Path(directory).glob(pattern)
    return found


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A directory with the wheel and the sdist, built here."""
    pytest.importorskip("maturin")
    directory = tmp_path_factory.mktemp("dist")
    # The profile is the one that the other tests are built with; it changes nothing tested here.
    run(sys.executable, "-m", "maturin", "build", "--profile", "dev", "--out", directory)
    run(sys.executable, "-m", "maturin", "sdist", "--out", directory)
    return directory


def use(tmp_path, distribution):
    """What a program prints in a new environment that has only that distribution."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", distribution)
    return run(python, "-c", USE, cwd=tmp_path)


@pytest.mark.timeout(1700)
def test_the_wheel_is_for_every_later_python(dist):
    wheel = one(dist, "*.whl")
    assert re.fullmatch(r"brimfs-[\d.]+-cp311-abi3-\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        wheel_file = next(name for name in names if name.endswith(".dist-info/WHEEL"))
        assert "Tag: cp311-abi3-" in archive.read(wheel_file).decode()
        metadata = archive.read(wheel_file.replace("WHEEL", "METADATA")).decode()
        entry_points = archive.read(wheel_file.replace("WHEEL", "entry_points.txt")).decode()
    modules = ("__init__.py", "_brimfs.pyi", "py.typed", "_errors.py", "_text.py", "_walk.py")
    facades = ("compat/__main__.py", "compat/dmemfs/__init__.py", "compat/memfs/core/file.py")
    fsspec = (
        "fsspec/__init__.py",
        "fsspec/filesystem.py",
        "fsspec/paths.py",
        "fsspec/cache/paths.py",
    )
    others = ("aio/__init__.py", "aio/_filesystem.py", "pytest_plugin.py")
    for name in modules + facades + fsspec + others:
        assert f"brimfs/{name}" in names
    assert sum(name.endswith((".so", ".pyd")) for name in names) == 1
    assert "Requires-Python: >=3.11" in metadata
    assert "Provides-Extra: fsspec" in metadata
    assert "brim=brimfs.fsspec:BrimFileSystem" in entry_points.replace(" ", "")
    assert "brim=brimfs.fsspec.paths:BrimPath" in entry_points.replace(" ", "")
    assert "brimcache=brimfs.fsspec.cache:BrimCacheFileSystem" in entry_points.replace(" ", "")
    # The plugins for pytest are no tests.
    assert not any("test" in name for name in names if not name.endswith("pytest_plugin.py"))


@pytest.mark.timeout(1700)
def test_the_wheel_installs_alone(dist, tmp_path):
    assert use(tmp_path, one(dist, "*.whl")).startswith("works 0.")


@pytest.mark.timeout(1700)
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_wheel_works_on_later_pythons(dist, tmp_path, version):
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} found")
    run(python, "-m", "venv", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", one(dist, "*.whl"))
    assert run(python, "-c", USE, cwd=tmp_path).startswith("works 0.")


def find_python(version):
    """An interpreter of that version, on the path or among those that pyenv keeps."""
    candidates = [shutil.which(f"python{version}")]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += [str(path) for path in root.glob(f"versions/{version}.*/bin/python")]
    for candidate in filter(None, candidates):
        try:
            probe = subprocess.run([candidate, "-c", "pass"], capture_output=True, check=False)
        except OSError:
            continue
        if probe.returncode == 0:
            return candidate
    return None


@pytest.mark.timeout(1700)
def test_the_sdist_has_what_it_takes_to_build(dist):
    with tarfile.open(one(dist, "*.tar.gz")) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for name in (
        "pyproject.toml",
        "Cargo.toml",
        "Cargo.lock",
        "crates/brimfs/src/lib.rs",
        "crates/brimfs-python/src/lib.rs",
        "crates/brimfs-python/build.rs",
        "python/brimfs/__init__.py",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ):
        assert name in names
    assert not any(name.endswith((".so", ".pyc")) for name in names)


@pytest.mark.timeout(1700)
def test_the_sdist_builds(dist, tmp_path):
    with tarfile.open(one(dist, "*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    source = one(tmp_path, "brimfs-*")
    run(sys.executable, "-m", "maturin", "build", "--profile", "dev", "--out", tmp_path, cwd=source)
    assert use(tmp_path, one(tmp_path, "*.whl")).startswith("works 0.")
