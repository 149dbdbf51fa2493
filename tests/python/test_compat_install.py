"""`import dmemfs` and `import memfs`, and programs that do it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def script(tmp_path):
    """Run Python source as a program of an older package."""

    def run(name, source, *arguments, module=False):
        place = tmp_path / "program.py"
        place.write_text(textwrap.dedent(source))
        target = ["-m", "program"] if module else [str(place)]
        return subprocess.run(
            [sys.executable, "-X", "dev", "-m", "brimfs.compat", name, *target, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def output(done):
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_imports_of_dmemfs(run_script):
    done = run_script(
        """
        import brimfs.compat.dmemfs
        brimfs.compat.dmemfs.install()
        brimfs.compat.dmemfs.install()
        import dmemfs, dmemfs._fs, dmemfs._pytest_plugin
        from dmemfs import *
        from dmemfs._exceptions import MFSQuotaExceededError as Other
        from dmemfs._async import AsyncMemoryFileSystem as Async
        import importlib.util
        assert dmemfs is brimfs.compat.dmemfs
        assert dmemfs._fs is brimfs.compat.dmemfs._fs
        assert MFSQuotaExceededError is Other
        assert AsyncMemoryFileSystem is Async
        assert dmemfs.__spec__.name == "brimfs.compat.dmemfs"
        assert importlib.util.find_spec("dmemfs._handle") is not None
        assert importlib.util.find_spec("dmemfs.nothing") is None
        try:
            import dmemfs.nothing
        except ModuleNotFoundError:
            print("good")
        """
    )
    assert done.stdout == "good\n", done.stderr


def test_imports_of_memfs(run_script):
    done = run_script(
        """
        import brimfs.compat.memfs as ours
        ours.install()
        import memfs
        from memfs import *
        from memfs.core.filesystem import MemFileSystem as A
        from memfs.core.file import VirtualFile
        from memfs.core.instance_manager import InstanceConflictError
        from memfs.utils.logger import OperationLogger, OperationType
        from memfs.utils.stats import Statistics
        from memfs.storage.hybrid import ExternalModificationError
        assert memfs is ours and A is memfs.MemFileSystem is MemFileSystem
        print("good")
        """
    )
    assert done.stdout == "good\n", done.stderr


def test_another_package_that_was_imported_is_not_hidden(run_script):
    done = run_script(
        """
        import sys, types
        sys.modules["memfs"] = types.ModuleType("memfs")
        sys.modules["memfs"].__file__ = "elsewhere"
        from brimfs.compat import memfs
        try:
            memfs.install()
        except ImportError as error:
            print(error)
        """
    )
    assert "elsewhere" in done.stdout, done.stderr


def test_a_program_gets_its_arguments(script):
    source = """
        import sys
        import dmemfs
        print(__name__, sys.argv[1:], dmemfs.MemoryFileSystem.__module__)
    """
    expected = "__main__ ['a', '--b'] brimfs.compat.dmemfs._fs\n"
    assert output(script("dmemfs", source, "a", "--b")) == expected
    assert output(script("dmemfs", source, "a", "--b", module=True)) == expected


def test_the_end_of_a_program_is_its_own(script):
    assert script("memfs", "import memfs, sys; sys.exit(7)").returncode == 7
    assert "ZeroDivisionError" in script("memfs", "1 / 0").stderr


@pytest.mark.parametrize("arguments", [[], ["dmemfs"], ["other", "x.py"], ["memfs", "no.py"]])
def test_wrong_usage(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "brimfs.compat", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr


STAGING = """
    import concurrent.futures
    from dmemfs import MemoryFileSystem

    mfs = MemoryFileSystem(max_quota=16 * 1024 * 1024)
    mfs.mkdir("/staging/raw_data")

    def stage(worker):
        mfs.mkdir("/staging/raw_data", exist_ok=True)
        with mfs.open(f"/staging/raw_data/part_{worker}.csv", "wb") as f:
            f.write(b"id,value\\n")
            for row in range(100):
                f.write(f"{worker},{row}\\n".encode())

    with concurrent.futures.ThreadPoolExecutor(max_workers=10) as pool:
        list(pool.map(stage, range(10)))

    total = 0
    for name in sorted(mfs.listdir("/staging/raw_data")):
        with mfs.open(f"/staging/raw_data/{name}", "rb") as f:
            total += len(f.read().splitlines())
    stats = mfs.stats()
    print(total, stats["file_count"])
    print(stats["used_bytes"], stats["quota_bytes"])
"""


def test_ten_workers_that_stage_files(script):
    lines = output(script("dmemfs", STAGING)).splitlines()
    assert lines[0] == "1010 10"
    content = sum(len(f"{w},{r}\n") for w in range(10) for r in range(100)) + 10 * 9
    assert lines[1] == f"{content + 1010 * 128} {16 * 1024 * 1024}"


TIERED = r"""
    import sys
    import memfs
    from memfs import MemFileSystem

    fs = MemFileSystem(memory_limit=0.8, persist_path=sys.argv[1], storage_mode='persist',
                       worker_threads=4)
    print(fs.write('/data/file.txt', 'hello world', priority=8))
    print(fs.write('/data/raw.bin', b'\x00\x01\x02', priority=2))
    print(fs.read('/data/file.txt'), fs.read('\\data\\raw.bin'))
    with fs.open('/data/text.txt', 'w') as f:
        f.write('hello')
    with fs.open('/data/bytes.bin', 'w') as f:
        f.write(b'bytes')
    with fs.open('/data/text.txt', 'r') as f:
        print(f.read())
    print(fs.set_priority('/data/file.txt', 9), fs.get_priority('/data/file.txt'))
    task = fs.preload('/data/raw.bin', priority=6)
    print(task.startswith('task_1_'), fs.gc(target_usage=0.5))
    stats = fs.get_stats()
    print(0 <= stats['memory']['usage_percent'] <= 100, stats['cache']['hit_rate'])
    info = fs.get_file_info('/data/file.txt')
    print(info['location'] in ('memory', 'both'), info['priority'], info['size'])
    print(sorted(fs.glob('/**/*.txt')), sorted(fs.listdir('/data')))
    print(fs.delete('/data/bytes.bin'))
    fs.shutdown()

    memfs.init(memory_limit=0.5, persist_path=sys.argv[2], storage_mode='temp')
    memfs.write('/a/b.txt', 'module')
    with memfs.open('/c.txt', 'w') as f:
        f.write('text')
    print(memfs.read('/a/b.txt'), memfs.exists('/c.txt'), memfs.listdir('/'))
    print(memfs.get_stats()['memory']['file_count'], memfs.close())
"""


def test_a_tiered_program(script, tmp_path):
    assert output(script("memfs", TIERED, str(tmp_path / "p"), str(tmp_path / "t"))) == (
        "11\n3\nb'hello world' b'\\x00\\x01\\x02'\nhello\nTrue 9\nTrue 0\nTrue 100.0\nTrue 9 11\n"
        "['/data/file.txt', '/data/text.txt'] ['bytes.bin', 'file.txt', 'raw.bin', 'text.txt']\n"
        "True\nb'module' True ['c.txt', 'a']\n2 True\n"
    )
    assert (tmp_path / "p/data/file.txt").read_text() == "hello world"
    assert not (tmp_path / "p/data/bytes.bin").exists()
    assert not (tmp_path / "t").exists()
