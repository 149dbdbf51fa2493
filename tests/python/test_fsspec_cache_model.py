"""Random calls of `brimcache::` against a plain dict, with a remote that changes and fails."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import brimfs.fsspec.cache
from brimfs.fsspec.cache import BrimCacheFileSystem
from cache_calls import held, within_limits
from counted_remote import PIECE, Counted

KIB = 1 << 10
LIMIT = 40 * KIB
NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/c", "da"])
# Empty, smaller and larger than a request, than an eighth of the limit, and than the limit.
SIZES = st.sampled_from([0, 1, 500, PIECE, 3 * PIECE + 7, 7 * KIB, 20 * KIB, LIMIT, LIMIT + 1])
CONTENTS = st.builds(
    lambda size, seed: bytes((seed + place) % 251 for place in range(size)),
    SIZES,
    st.integers(0, 250),
)
ENDS = st.one_of(st.none(), st.integers(-9000, 9000))


class Gone(Exception):
    """The remote ended the connection."""


class CacheMachine(RuleBasedStateMachine):
    """What is read is what the remote has, whatever happens in between."""

    @initialize(kept=st.booleans(), sized=st.booleans())
    def begin(self, kept, sized):
        self.remote = Counted(sized=sized)
        self.directory = tempfile.mkdtemp()
        self.store = os.path.join(self.directory, "cache") if kept else None
        self.request = brimfs.fsspec.cache.remote.PIECE
        brimfs.fsspec.cache.remote.PIECE = PIECE
        self.open_files = []
        self.fs = BrimCacheFileSystem(
            fs=self.remote,
            store=self.store,
            memory_limit="8MiB",
            disk_limit="16MiB",
            limit=LIMIT,
            skip_instance_cache=True,
        )

    def teardown(self):
        if hasattr(self, "fs"):
            for file, _ in self.open_files:
                file.close()
            held(self.fs)
            self.fs.close_cache()
            brimfs.fsspec.cache.remote.PIECE = self.request
            shutil.rmtree(self.directory)

    def expected(self, path):
        return self.remote.files[path][0] if path in self.remote.files else None

    def read(self, path, call, cut=lambda content: content):
        try:
            found = call()
        except FileNotFoundError:
            found = None
        expected = self.expected(path)
        assert found == (None if expected is None else cut(expected))

    # reading

    @rule(path=NAMES)
    def cat(self, path):
        self.read(path, lambda: self.fs.cat_file(path))

    @rule(path=NAMES, start=ENDS, end=ENDS)
    def cat_part(self, path, start, end):
        self.read(path, lambda: self.fs.cat_file(path, start, end), lambda all_: all_[start:end])

    @rule(path=NAMES, start=ENDS, end=ENDS)
    def cat_ranges(self, path, start, end):
        found = self.fs.cat_ranges([path, path], [start, None], [end, 10])
        expected = self.expected(path)
        if expected is None:
            assert all(isinstance(each, FileNotFoundError) for each in found)
        else:
            assert found == [expected[start:end], expected[:10]]

    @rule(path=NAMES)
    def open_and_keep(self, path):
        if self.expected(path) is not None and len(self.open_files) < 4:
            held_before = self.fs.cache_stats().passed
            file = self.fs.open(path)
            # One that was passed through is as the remote has it.
            if self.fs.cache_stats().passed == held_before:
                self.open_files.append((file, self.expected(path)))

    @rule()
    def read_and_close(self):
        if self.open_files:
            file, expected = self.open_files.pop(0)
            assert file.read() == expected
            file.close()

    @rule()
    def cat_all(self):
        if self.remote.files:
            expected = {path: content for path, (content, _) in self.remote.files.items()}
            assert self.fs.cat(list(expected)) == expected

    # what others do

    @rule(path=NAMES, content=CONTENTS)
    def change(self, path, content):
        self.remote.put_content(path, content)

    @rule(path=NAMES)
    def remove_elsewhere(self, path):
        self.remote.files.pop(path, None)

    @rule(path=NAMES, content=CONTENTS, at=st.integers(0, 4), times=st.integers(1, 6))
    def change_while_it_is_fetched(self, path, content, at, times):
        left = times

        def hook(fetched, position):
            nonlocal left
            if fetched == path and position >= at * PIECE and left:
                left -= 1
                self.remote.put_content(path, content + bytes(left))

        self.remote.hook = hook
        passed = self.fs.cache_stats().passed
        try:
            found = self.fs.cat_file(path)
        except FileNotFoundError:
            assert self.expected(path) is None
        except OSError as error:
            assert error.errno == errno.ESTALE  # noqa: PT017
        else:
            # What is passed through is torn or not as the remote sends it.
            if self.fs.cache_stats().passed == passed:
                assert found == self.expected(path)
        finally:
            self.remote.hook = None

    @rule(path=NAMES, at=st.integers(0, 4))
    def fail_while_it_is_fetched(self, path, at):
        def hook(fetched, position):
            if position >= at * PIECE:
                raise Gone

        self.remote.hook = hook
        before = held(self.fs)
        try:
            found = self.fs.cat_file(path)
        except (Gone, FileNotFoundError):
            assert held(self.fs).keys() <= before.keys()
        else:
            assert found == self.expected(path)
        finally:
            self.remote.hook = None

    # writing

    @rule(path=NAMES, content=CONTENTS)
    def pipe(self, path, content):
        self.fs.pipe_file(path, content)
        assert self.expected(path) == content

    @rule(path=NAMES, content=CONTENTS)
    def write(self, path, content):
        with self.fs.open(path, "wb") as file:
            file.write(content)
        assert self.expected(path) == content

    @rule(path=NAMES)
    def remove(self, path):
        if self.expected(path) is not None:
            self.fs.rm(path)

    @rule()
    def remove_directory(self):
        if any(path.startswith("d/") for path in self.remote.files):
            self.fs.rm("d", recursive=True)
            assert not any(path.startswith("d/") for path in held(self.fs))

    @rule(source=NAMES, goal=NAMES)
    def move(self, source, goal):
        if self.expected(source) is not None and source != goal:
            self.fs.mv(source, goal)

    # the cache itself

    @rule(path=NAMES)
    def pop(self, path):
        self.fs.pop_from_cache(path)
        assert path not in held(self.fs)

    @rule()
    def clear(self):
        self.fs.clear_cache()
        assert held(self.fs) == {}

    @rule()
    def reopen(self):
        for file, _ in self.open_files:
            file.close()
        self.open_files.clear()
        before = held(self.fs)
        self.fs.close_cache()
        assert held(self.fs) == (before if self.store else {})

    @invariant()
    def bounded(self):
        if hasattr(self, "fs"):
            held(self.fs)
            within_limits(self.fs)


def test_random_calls_are_those_of_a_dict():
    run_state_machine_as_test(
        CacheMachine,
        settings=settings(
            max_examples=int(os.environ.get("BRIMFS_CASES", "60")),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
