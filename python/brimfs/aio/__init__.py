"""brimfs for asyncio: the same filesystem, with coroutines for methods.

>>> import asyncio
>>> import brimfs.aio
>>> async def main():
...     async with brimfs.aio.FileSystem(quota="64MiB") as fs:
...         async with await fs.open("/hello.txt", "w") as file:
...             await file.write("hello")
...         return await fs.read_text("/hello.txt")
>>> asyncio.run(main())
'hello'

What needs neither a wait nor a disk is done at once, without leaving the event loop. Whoever waits
for a file lock waits as a task and takes no thread; what touches a disk goes to one of a few.
"""

from __future__ import annotations

from brimfs.aio._file import File
from brimfs.aio._filesystem import FileSystem, open_filesystem
from brimfs.aio._listing import Preload, ScanIterator
from brimfs.aio._opening import Opening
from brimfs.aio._text import TextFile
from brimfs.aio._transaction import Transaction
from brimfs.aio._watch import Watch

__all__ = [
    "File",
    "FileSystem",
    "Opening",
    "Preload",
    "ScanIterator",
    "TextFile",
    "Transaction",
    "Watch",
    "open_filesystem",
]
