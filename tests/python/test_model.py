"""Random sequences of calls, against a plain model and against a directory of the system.

The results and the errno of every call have to agree with both.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import brimfs

NAMES = ["a", "b", "c", "dd"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.integers(0, 200_000).map(lambda size: (b"%07d" % size * (size // 7 + 1))[:size]),
)


class Model:
    """Files are bytes, directories are dicts. Nothing else."""

    def __init__(self) -> None:
        self.root: dict[str, object] = {}

    def parent(self, path: str) -> tuple[dict[str, object], str]:
        *parents, name = path.split("/")
        at: object = self.root
        for part in parents:
            if not isinstance(at, dict):
                raise OSError(errno.ENOTDIR, "")
            if part not in at:
                raise OSError(errno.ENOENT, "")
            at = at[part]
        if not isinstance(at, dict):
            raise OSError(errno.ENOTDIR, "")
        return at, name

    def node(self, path: str) -> object:
        at, name = self.parent(path)
        if name not in at:
            raise OSError(errno.ENOENT, "")
        return at[name]

    def file(self, path: str) -> bytes:
        node = self.node(path)
        if isinstance(node, dict):
            raise OSError(errno.EISDIR, "")
        assert isinstance(node, bytes)
        return node

    def write(self, path: str, content: bytes) -> None:
        at, name = self.parent(path)
        if isinstance(at.get(name), dict):
            raise OSError(errno.EISDIR, "")
        at[name] = content

    def append(self, path: str, content: bytes) -> None:
        at, name = self.parent(path)
        if isinstance(at.get(name), dict):
            raise OSError(errno.EISDIR, "")
        at[name] = at.get(name, b"") + content  # type: ignore[operator]

    def truncate(self, path: str, size: int) -> None:
        content = self.file(path)
        at, name = self.parent(path)
        at[name] = content[:size].ljust(size, b"\0")

    def mkdir(self, path: str) -> None:
        at, name = self.parent(path)
        if name in at:
            raise OSError(errno.EEXIST, "")
        at[name] = {}

    def rmdir(self, path: str) -> None:
        node = self.node(path)
        if not isinstance(node, dict):
            raise OSError(errno.ENOTDIR, "")
        if node:
            raise OSError(errno.ENOTEMPTY, "")
        at, name = self.parent(path)
        del at[name]

    def remove(self, path: str) -> None:
        self.file(path)
        at, name = self.parent(path)
        del at[name]

    def rmtree(self, path: str) -> None:
        if not isinstance(self.node(path), dict):
            raise OSError(errno.ENOTDIR, "")
        at, name = self.parent(path)
        del at[name]

    def rename(self, src: str, dst: str) -> None:
        # The system looks at both directories before it looks at the names in them.
        self.parent(src)
        at, name = self.parent(dst)
        moved = self.node(src)
        if (dst + "/").startswith(src + "/") and isinstance(moved, dict) and dst != src:
            raise OSError(errno.EINVAL, "")
        there = at.get(name)
        if there is not None and there is not moved:
            if (src + "/").startswith(dst + "/"):
                raise OSError(errno.ENOTEMPTY, "")
            if isinstance(moved, dict):
                if not isinstance(there, dict):
                    raise OSError(errno.ENOTDIR, "")
                if there:
                    raise OSError(errno.ENOTEMPTY, "")
            elif isinstance(there, dict):
                raise OSError(errno.EISDIR, "")
        if there is moved:
            return
        at[name] = moved
        old, old_name = self.parent(src)
        del old[old_name]

    def listdir(self, path: str) -> list[str]:
        node = self.node(path)
        if not isinstance(node, dict):
            raise OSError(errno.ENOTDIR, "")
        return sorted(node)

    def flat(self, at: dict[str, object] | None = None, prefix: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for name, node in (self.root if at is None else at).items():
            path = f"{prefix}/{name}"
            found[path] = None if isinstance(node, dict) else node
            if isinstance(node, dict):
                found |= self.flat(node, path)
        return found


def answer(call):
    """The result, or the errno."""
    try:
        return call()
    except OSError as error:
        return ("errno", error.errno)


def done(_result: object) -> None:
    """For calls whose result the others do not have."""


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.fs = self.make()
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.host = Path(tempfile.mkdtemp(dir=base))

    def make(self) -> brimfs.FileSystem:
        return brimfs.FileSystem(memory_limit="256MiB")

    def teardown(self) -> None:
        shutil.rmtree(self.host)
        self.fs._audit()
        self.fs.close()

    def agree(self, ours, model, host) -> None:
        mine, theirs, real = answer(ours), answer(model), answer(host)
        assert mine == theirs, "brimfs and the model"
        assert theirs == real, "the model and the system"

    def host_write(self, path: str, content: bytes, mode: str = "wb") -> None:
        with open(self.host / path, mode) as file:
            file.write(content)

    @rule(path=PATHS, content=CONTENTS, how=st.sampled_from(["bytes", "bytearray", "handle"]))
    def write(self, path: str, content: bytes, how: str) -> None:
        def ours() -> None:
            if how == "handle":
                with self.fs.open(path, "wb") as file:
                    file.write(content)
            else:
                self.fs.write_bytes(path, content if how == "bytes" else bytearray(content))

        self.agree(
            ours, lambda: self.model.write(path, content), lambda: self.host_write(path, content)
        )

    @rule(path=PATHS, content=CONTENTS)
    def append(self, path: str, content: bytes) -> None:
        self.agree(
            lambda: done(self.fs.append_bytes(path, content)),
            lambda: self.model.append(path, content),
            lambda: self.host_write(path, content, "ab"),
        )

    @rule(path=PATHS, size=st.integers(0, 300_000))
    def truncate(self, path: str, size: int) -> None:
        self.agree(
            lambda: self.fs.truncate(path, size),
            lambda: self.model.truncate(path, size),
            lambda: os.truncate(self.host / path, size),
        )

    @rule(path=PATHS, offset=st.integers(0, 250_000), content=st.binary(min_size=1, max_size=300))
    def overwrite(self, path: str, offset: int, content: bytes) -> None:
        def model() -> None:
            old = self.model.file(path)
            new = old.ljust(offset, b"\0")[:offset] + content + old[offset + len(content) :]
            self.model.write(path, new)

        def change(opener) -> None:
            with opener(path, "r+b") as file:
                file.seek(offset)
                file.write(content)

        self.agree(
            lambda: change(self.fs.open),
            model,
            lambda: change(lambda path, mode: open(self.host / path, mode)),
        )

    @rule(path=PATHS)
    def read(self, path: str) -> None:
        self.agree(
            lambda: self.fs.read_bytes(path),
            lambda: self.model.file(path),
            lambda: (self.host / path).read_bytes(),
        )

    @rule(path=PATHS)
    def look(self, path: str) -> None:
        self.agree(
            lambda: stat.S_IFMT(self.fs.stat(path).st_mode) == stat.S_IFDIR,
            lambda: isinstance(self.model.node(path), dict),
            lambda: stat.S_IFMT(os.stat(self.host / path).st_mode) == stat.S_IFDIR,
        )
        assert self.fs.exists(path) == (self.host / path).exists()
        assert self.fs.is_file(path) == (self.host / path).is_file()

    @rule(path=PATHS)
    def mkdir(self, path: str) -> None:
        self.agree(
            lambda: self.fs.mkdir(path),
            lambda: self.model.mkdir(path),
            lambda: os.mkdir(self.host / path),
        )

    @rule(path=PATHS)
    def rmdir(self, path: str) -> None:
        self.agree(
            lambda: self.fs.rmdir(path),
            lambda: self.model.rmdir(path),
            lambda: os.rmdir(self.host / path),
        )

    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        self.agree(
            lambda: self.fs.remove(path),
            lambda: self.model.remove(path),
            lambda: os.remove(self.host / path),
        )

    @rule(path=PATHS)
    def rmtree(self, path: str) -> None:
        self.agree(
            lambda: self.fs.rmtree(path),
            lambda: self.model.rmtree(path),
            lambda: shutil.rmtree(self.host / path),
        )

    @rule(src=PATHS, dst=PATHS)
    def rename(self, src: str, dst: str) -> None:
        self.agree(
            lambda: self.fs.rename(src, dst),
            lambda: self.model.rename(src, dst),
            lambda: os.rename(self.host / src, self.host / dst),
        )

    @rule(src=PATHS, dst=PATHS)
    def copy(self, src: str, dst: str) -> None:
        if self.fs.is_dir(dst) or self.fs.is_dir(src) or src == dst:
            return

        def host() -> None:
            content = (self.host / src).read_bytes()
            self.host_write(dst, content)

        self.agree(
            lambda: done(self.fs.copy(src, dst)),
            lambda: self.model.write(dst, self.model.file(src)),
            host,
        )

    @rule(path=PATHS)
    def listdir(self, path: str) -> None:
        self.agree(
            lambda: sorted(self.fs.listdir(path)),
            lambda: self.model.listdir(path),
            lambda: sorted(os.listdir(self.host / path)),
        )

    @invariant()
    def the_trees_are_the_same(self) -> None:
        flat = self.model.flat()
        ours = {
            path: None if self.fs.is_dir(path) else self.fs.read_bytes(path)
            for path in self.fs.glob("/**")
        }
        ours.pop("/", None)
        assert ours == flat
        stats = self.fs.stats()
        assert stats.files == sum(content is not None for content in flat.values())
        assert stats.directories == 1 + sum(content is None for content in flat.values())


class SpillingMachine(Machine):
    """The same with hardly any memory, all of it emptied again and again."""

    def __init__(self) -> None:
        self.spilled = tempfile.TemporaryDirectory()
        super().__init__()

    def make(self) -> brimfs.FileSystem:
        return brimfs.FileSystem(
            memory_limit="6MiB", spill_dir=self.spilled.name, disk_limit="256MiB"
        )

    def teardown(self) -> None:
        super().teardown()
        self.spilled.cleanup()

    @rule()
    def spill(self) -> None:
        self.fs.gc(0.0)
        for path in self.files():
            why = self.fs.explain(path)
            assert why.cold_units > 0 or why.kept in (None, "small"), str(why)

    @rule(priority=st.none() | st.integers(0, 10))
    def preload(self, priority: int | None) -> None:
        paths = self.files()
        preload = self.fs.preload(paths, priority)
        assert preload.wait(60)
        assert (preload.result().files, preload.result().errors) == (len(paths), ())
        assert all(self.fs.explain(path).cold_units == 0 for path in paths)

    @rule(path=PATHS, pinned=st.booleans())
    def pin(self, path: str, pinned: bool) -> None:
        if self.fs.is_file(path):
            (self.fs.pin if pinned else self.fs.unpin)(path)

    def files(self) -> list[str]:
        return [path for path, content in self.model.flat().items() if content is not None]


SETTINGS = settings(
    max_examples=int(os.environ.get("BRIMFS_CASES", "40")),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
Machine.TestCase.settings = SETTINGS
SpillingMachine.TestCase.settings = SETTINGS
TestModel = Machine.TestCase
TestSpillingModel = SpillingMachine.TestCase
