"""The log of operations."""

from __future__ import annotations

import json
import time

import pytest

import brimfs
from cold import MIB, content, fill


def test_what_is_done_is_in_the_log(tmp_path):
    with brimfs.FileSystem(memory_limit="64MiB", spill_dir=tmp_path, operation_log=100) as fs:
        begun = time.time()
        fs.write_bytes("/a", b"x" * 100)
        fs.append_bytes("/a", b"y" * 5)
        assert len(fs.read_bytes("/a")) == 105
        fs.write_bytes("/large", content(1, 3 * MIB))
        fs.gc(0.0)
        assert fs.read_bytes("/large") == content(1, 3 * MIB)
        fs.view("/a").release()
        with fs.open("/a", "r+b") as file:
            file.read(10)
            file.readinto(bytearray(20))
            file.write(b"z")
        fs.truncate("/a", 3)
        fs.set_priority("/a", 3)
        fs.rename("/a", "/b")
        fs.remove("/b")
        with pytest.raises(FileNotFoundError):
            fs.read_bytes("/b")
        with pytest.raises(IsADirectoryError):
            fs.write_bytes("/", b"")
        log = fs.operation_log()
        assert [(entry.op, entry.path, entry.bytes, entry.error) for entry in log] == [
            ("write", "/a", 100, None),
            ("append", "/a", 5, None),
            ("read", "/a", 105, None),
            ("write", "/large", 3 * MIB, None),
            ("gc", None, 3 * MIB, None),
            ("read", "/large", 3 * MIB, None),
            ("view", "/a", 105, None),
            ("open", "/a", 0, None),
            ("read", "/a", 10, None),
            ("read", "/a", 20, None),
            ("write", "/a", 1, None),
            ("truncate", "/a", 0, None),
            ("set the priority of", "/a", 0, None),
            ("rename", "/a", 0, None),
            ("remove", "/b", 0, None),
            ("read", "/b", 0, "NotFound"),
            ("write", "/", 0, "IsADirectory"),
        ]
        assert log[13].other == "/b"
        for entry in log:
            assert begun - 0.1 <= entry.time <= time.time()
            assert 0 <= entry.duration < 60
        assert json.loads(str(log[0]))["op"] == "write"
        assert repr(log[0]).startswith('<brimfs.LogEntry {"time":')
        assert log[0]._asdict()["bytes"] == 100
        assert fs.stats().log_lines_lost == 0


def test_the_oldest_entries_of_the_log_make_room():
    with brimfs.FileSystem(memory_limit="64MiB", operation_log=3) as fs:
        fill(fs, 10, 10)
        assert [entry.path for entry in fs.operation_log()] == ["/f7", "/f8", "/f9"]
    with brimfs.FileSystem(memory_limit="64MiB") as fs:
        fill(fs, 10, 10)
        assert fs.operation_log() == []


def test_a_file_gets_every_line_of_the_log(tmp_path):
    for path in (tmp_path / "log.jsonl", str(tmp_path / "log.jsonl")):
        with brimfs.FileSystem(memory_limit="64MiB", operation_log=path) as fs:
            fs.write_bytes("/a", b"abc")
            assert fs.operation_log() == []
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["op"], line["path"], line["bytes"]) for line in lines] == [("write", "/a", 3)] * 2
    with pytest.raises(OSError, match="No such file"):
        brimfs.FileSystem(memory_limit="64MiB", operation_log=tmp_path / "missing" / "log")


@pytest.mark.parametrize(
    ("log", "error"),
    [(0, ValueError), (-1, ValueError), (1 << 40, ValueError), (True, TypeError), (1.5, TypeError)],
)
def test_logs_that_are_refused(log, error):
    with pytest.raises(error, match="operation_log"):
        brimfs.FileSystem(operation_log=log)
