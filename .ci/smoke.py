"""Uses an installed brimfs a little: enough to show that it loads and works.

With the argument `free-threaded` it also requires that loading brimfs left the
interpreter without its global lock.
"""

from __future__ import annotations

import sys
import threading

import brimfs


def main() -> None:
    fs = brimfs.FileSystem(quota="8MiB")
    fs.mkdir("/staging")

    def stage(number: int) -> None:
        for round_ in range(100):
            fs.write_bytes(f"/staging/{number}-{round_}", b"x" * 100)

    threads = [threading.Thread(target=stage, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with fs.open("/staging/text", "w", encoding="utf-8") as file:
        file.write("one\ntwo\n")
    with fs.open("/staging/text", encoding="utf-8") as file:
        assert list(file) == ["one\n", "two\n"]
    assert fs.read_bytes("/staging/3-99") == b"x" * 100
    assert len(fs.listdir("/staging")) == 401
    refused_for = None
    try:
        fs.write_bytes("/staging/large", bytes(9 << 20))
    except OSError as error:
        refused_for = error.filename
    assert refused_for == "/staging/large", refused_for
    fs.rmtree("/staging")
    assert fs.stats().quota_used == 0

    if "free-threaded" in sys.argv:
        assert not sys._is_gil_enabled(), "loading brimfs switched the global lock on"  # type: ignore[attr-defined, unused-ignore]
    print(f"brimfs works on {sys.version.split()[0]} ({sys.executable})")


if __name__ == "__main__":
    main()
