"""Memory per 100-byte file, content aside: each candidate in a fresh process.

Two figures: how much the process grew, which is what the user pays, and what the filesystem itself
counts.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
from pathlib import Path

from .measure import BYTES, Measured, Scale, at_most
from .peers import ALL

CONTENT = 100
FILES_PER_DIRECTORY = 1000
RSS = "small_files_rss"
RESIDENT = "small_files_resident"
MOST = 200.0


def files(scale: Scale) -> int:
    """How many files; enough that what a filesystem takes once does not count."""
    return scale.count(100_000, 20_000)


def rows() -> list[Measured]:
    title = "memory per 100-byte file, content aside"
    reach = at_most(MOST, BYTES)
    return [
        Measured(RSS, f"{title}: growth of the process", BYTES, reach),
        Measured(RESIDENT, f"{title}: the filesystem's own count", BYTES, reach),
    ]


def in_child(program: Path, name: str, count: int) -> dict[str, float]:
    """Runs the benchmark program again for one candidate, which prints its figures as JSON."""
    command = [sys.executable, str(program), "--small-files-child", name, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stderr.strip()}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def child(name: str, count: int) -> None:
    """The child's side: fills a filesystem and prints what it took."""
    peer = next(candidate for candidate in ALL if candidate.name == name)()
    content = bytearray(CONTENT)
    # What is allocated on first use is not the files'.
    peer.write_bytes(peer.path("/warm"), bytes(content))
    gc.collect()
    before = _resident_set_bytes()
    for number in range(count):
        if number % FILES_PER_DIRECTORY == 0:
            directory = f"/d{number // FILES_PER_DIRECTORY:04}"
            peer.mkdir(peer.path(directory))
        # Every content is an object of its own, as it is in a real program.
        content[:4] = number.to_bytes(4, "big")
        peer.write_bytes(peer.path(f"{directory}/file{number:06}"), bytes(content))
    gc.collect()
    figures = {RSS: (_resident_set_bytes() - before) / count - CONTENT}
    if (resident := peer.resident()) is not None:
        figures[RESIDENT] = resident / count - CONTENT
    if name == "tmpfs":
        # The kernel keeps these files outside the process.
        figures = {}
    print(json.dumps(figures))
    peer.close()


def _resident_set_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
