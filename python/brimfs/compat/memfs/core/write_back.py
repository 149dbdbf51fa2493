"""Making durable what was written, in the background."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import brimfs
from brimfs.compat.memfs.storage.hybrid import Entry, Tiers

_RETRY_SECONDS = 0.2


class WriteBack:
    """One thread that syncs whenever something changed, all at once that changed meanwhile.

    It knows the parts of the filesystem and not the whole, which can be collected while it waits.
    In temp mode nothing is written back."""

    def __init__(
        self,
        core: brimfs.FileSystem,
        tiers: Tiers,
        lock: threading.RLock,
        root: str,
        is_temp: bool,
    ) -> None:
        self._core = core
        self._tiers = tiers
        self._lock = lock
        self._root = root
        self._is_temp = is_temp
        self._dirty: dict[str, tuple[Entry, int]] = {}
        self._wakes = threading.Event()
        self._syncing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_ending = False

    def changed(self, entry: Entry | None) -> None:
        """Something changed, that file or names. Called under the lock of the filesystem."""
        if self._is_temp:
            return
        if entry is not None:
            self._dirty[entry.path] = (entry, entry.version)
        self._wakes.set()
        if self._thread is None and not self._is_ending:
            self._thread = threading.Thread(target=self._run, name="memfs-write-back", daemon=True)
            self._thread.start()

    def waiting(self) -> int:
        """How many files are not durable yet."""
        return len(self._dirty)

    def sync(self) -> None:
        """Makes durable what was done before. Raises `OSError`; what was not durable is tried
        again.
        """
        with self._syncing:
            with self._lock:
                batch, self._dirty = self._dirty, {}
            try:
                self._core.sync()
            except BaseException:
                with self._lock:
                    self._dirty = batch | self._dirty
                raise
            seen = {path: self._host_state(path) for path in batch}
            with self._lock:
                for path, (entry, version) in batch.items():
                    if self._tiers.entries.get(path) is entry and entry.version == version:
                        self._tiers.set_durable(entry, True)
                        entry.host = seen[path]

    def _host_state(self, path: str) -> tuple[int, int] | None:
        try:
            status = os.lstat(self._root + path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _run(self) -> None:
        while True:
            self._wakes.wait()
            self._wakes.clear()
            if self._is_ending:
                return
            try:
                self.sync()
            except OSError:
                # `flush` and the end say so; until then the files stay in memory and the disk is
                # asked again.
                time.sleep(_RETRY_SECONDS)
                self._wakes.set()
            except ValueError:
                # Closed underneath.
                return

    def stop(self) -> None:
        """Ends the thread, and makes durable what is left. Raises `OSError`."""
        self._is_ending = True
        self._wakes.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):
                thread.join()
        if not self._is_temp:
            self.sync()
