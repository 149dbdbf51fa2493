"""Listings that were made before and brought up to date since."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

import brimfs


@settings(deadline=None)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 60))
def test_a_list_brought_up_to_date_is_that_of_a_plain_dict(seed, steps):
    """Names in the order of their creation, however much came and went between two listings."""
    choice = random.Random(seed)
    model: dict[str, None] = {}
    with brimfs.FileSystem(memory_limit="64MiB") as fs:
        fs.mkdir("/d")
        for _ in range(steps):
            for _ in range(choice.choice([1, 3, 200])):
                name = f"n{choice.randrange(150)}"
                if name in model:
                    fs.remove(f"/d/{name}")
                    del model[name]
                else:
                    fs.write_bytes(f"/d/{name}", b"")
                    model[name] = None
            listed = fs.listdir("/d")
            assert listed == list(model)
            # What a caller does to its list is nobody else's business.
            listed.clear()


def test_objects_of_names_that_stay_are_kept(fs):
    for number in range(10):
        fs.write_bytes(f"/a{number}", b"")
    first = fs.listdir("/")
    fs.remove("/a4")
    fs.write_bytes("/new", b"")
    second = fs.listdir("/")
    assert second == [name for name in first if name != "a4"] + ["new"]
    kept = {id(name) for name in first}
    assert [name for name in second if id(name) not in kept] == ["new"]


def test_a_directory_in_the_place_of_another_is_listed_anew(fs):
    fs.mkdir("/d")
    fs.write_bytes("/d/old", b"")
    assert fs.listdir("/d") == ["old"]
    fs.rename("/d", "/before")
    fs.mkdir("/d")
    fs.write_bytes("/d/young", b"")
    assert fs.listdir("/d") == ["young"]
    assert fs.listdir("/before") == ["old"]


def test_a_rename_over_a_name_keeps_its_place(fs):
    for name in "abc":
        fs.write_bytes(f"/{name}", b"")
    assert fs.listdir("/") == ["a", "b", "c"]
    fs.rename("/c", "/a")
    assert sorted(fs.listdir("/")) == ["a", "b"]
    assert fs.listdir("/") == [entry.name for entry in fs.scandir("/")]
