"""Handles in the hands of other people's code."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import os
import pickle
import shutil
import sqlite3
import tarfile
import zipfile

import numpy as np
import pytest


def test_zipfile(fs):
    with (
        fs.open("/a.zip", "wb") as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.writestr("one.txt", "one" * 1000)
        archive.writestr("dir/two.txt", "two")
    with fs.open("/a.zip", "r+b") as file, zipfile.ZipFile(file, "a") as archive:
        archive.writestr("three.txt", "three")
    with fs.open("/a.zip", "rb") as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["one.txt", "dir/two.txt", "three.txt"]
        assert archive.read("one.txt") == b"one" * 1000
        assert archive.testzip() is None
        with archive.open("three.txt") as member:
            assert member.read() == b"three"


@pytest.mark.parametrize("compression", ["", "gz", "xz"])
def test_tarfile(fs, compression):
    with (
        fs.open("/a.tar", "wb") as file,
        tarfile.open(fileobj=file, mode=f"w:{compression}") as tar,
    ):
        info = tarfile.TarInfo("member")
        info.size = 5000
        tar.addfile(info, io.BytesIO(b"x" * 5000))
    with fs.open("/a.tar", "rb") as file, tarfile.open(fileobj=file) as tar:
        assert tar.extractfile("member").read() == b"x" * 5000


def test_gzip_and_lzma(fs):
    for module in (gzip, lzma):
        with fs.open("/a", "wb") as file, module.open(file, "wb") as packed:
            packed.write(b"content" * 10_000)
        with fs.open("/a", "rb") as file, module.open(file) as packed:
            assert packed.read() == b"content" * 10_000


def test_csv(fs):
    rows = [["a", "b"], ["1", "with, comma"], ["2", "with\nline"]]
    with fs.open("/a.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    with fs.open("/a.csv", newline="") as file:
        assert list(csv.reader(file)) == rows


def test_pickle_and_json(fs):
    thing = {"numbers": list(range(1000)), "nested": {"a": (1, 2)}, "bytes": b"x" * 100_000}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with fs.open("/a", "wb") as file:
            pickle.dump(thing, file, protocol)
            pickle.dump("second", file, protocol)
        with fs.open("/a", "rb") as file:
            assert pickle.load(file) == thing
            assert pickle.load(file) == "second"
    with fs.open("/a.json", "w") as file:
        json.dump([1, "zwei"], file)
    with fs.open("/a.json") as file:
        assert json.load(file) == [1, "zwei"]


def test_copyfileobj(fs, tmpfs):
    content = os.urandom(3_000_000)
    fs.write_bytes("/a", content)
    with fs.open("/a", "rb") as source, open(tmpfs / "a", "wb") as target:
        shutil.copyfileobj(source, target)
    with open(tmpfs / "a", "rb") as source, fs.open("/b", "wb") as target:
        shutil.copyfileobj(source, target)
    assert fs.read_bytes("/b") == content


def test_wrappers_of_the_io_module(fs):
    content = b"".join(b"line %d\r\n" % number for number in range(5000))
    fs.write_bytes("/a", content)
    with io.BufferedReader(fs.open("/a", "rb")) as reader:
        assert reader.read(10) == content[:10]
        assert reader.peek(5)[:5] == content[10:15]
        assert reader.readline() == content[10 : content.index(b"\n", 10) + 1]
        assert reader.read() == content[content.index(b"\n", 10) + 1 :]
    with io.BufferedWriter(fs.open("/b", "wb")) as writer:
        for start in range(0, len(content), 100):
            writer.write(content[start : start + 100])
    assert fs.read_bytes("/b") == content
    with io.BufferedRandom(fs.open("/b", "r+b")) as both:
        both.seek(5)
        both.write(b"X")
        both.seek(4)
        assert both.read(3) == b" X\r"
    text = io.TextIOWrapper(fs.open("/a", "rb"), "ascii")
    assert text.readline() == "line 0\n"
    position = text.tell()
    assert text.readline() == "line 1\n"
    text.seek(position)
    assert text.readline() == "line 1\n"
    assert sum(1 for _ in text) == 4998
    inner = text.detach()
    assert inner.tell() == len(content)
    inner.close()


def test_numpy(fs):
    one, two = np.arange(1000.0), np.eye(30)
    with fs.open("/a.npy", "wb") as file:
        np.save(file, one)
        np.save(file, two)
    with fs.open("/a.npy", "rb") as file:
        assert np.array_equal(np.load(file), one)
        assert np.array_equal(np.load(file), two)
    with fs.open("/a.npz", "wb") as file:
        np.savez_compressed(file, one=one, two=two)
    with fs.open("/a.npz", "rb") as file, np.load(file) as loaded:
        assert np.array_equal(loaded["two"], two)
    with fs.open("/a.txt", "w") as file:
        np.savetxt(file, two)
    with fs.open("/a.txt") as file:
        assert np.array_equal(np.loadtxt(file), two)


def test_pandas(fs):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": range(1000), "b": [f"text {n}" for n in range(1000)]})
    with fs.open("/a.csv", "w") as file:
        frame.to_csv(file, index=False)
    for mode in ("r", "rb"):
        with fs.open("/a.csv", mode) as file:
            assert pd.read_csv(file).equals(pd.read_csv(io.BytesIO(fs.read_bytes("/a.csv"))))
    with fs.open("/a.csv", "wb") as file:
        frame.to_csv(file, index=False)
    with fs.open("/a.csv", "rb") as file:
        assert len(pd.read_csv(file)) == 1000
    with fs.open("/a.parquet", "wb") as file:
        frame.to_parquet(file)
    with fs.open("/a.parquet", "rb") as file:
        assert pd.read_parquet(file)["a"].tolist() == list(range(1000))
    with fs.open("/a.pickle", "wb") as file:
        frame.to_pickle(file)
    with fs.open("/a.pickle", "rb") as file:
        assert pd.read_pickle(file).equals(frame)


def test_polars(fs):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": range(1000), "b": [f"text {n}" for n in range(1000)]})
    with fs.open("/a.csv", "wb") as file:
        frame.write_csv(file)
    with fs.open("/a.csv", "rb") as file:
        assert pl.read_csv(file).equals(frame)
    assert pl.read_csv(fs.read_bytes("/a.csv")).equals(frame)
    with fs.open("/a.parquet", "wb") as file:
        frame.write_parquet(file)
    with fs.open("/a.parquet", "rb") as file:
        assert pl.read_parquet(file).equals(frame)
    with fs.open("/a.arrow", "wb") as file:
        frame.write_ipc(file)
    with fs.open("/a.arrow", "rb") as file:
        assert pl.read_ipc(file, use_pyarrow=False).equals(frame)


def test_pyarrow(fs):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pa_csv = pytest.importorskip("pyarrow.csv")
    table = pa.table({"a": list(range(10_000)), "b": [str(n) for n in range(10_000)]})
    with fs.open("/a.parquet", "wb") as file:
        pq.write_table(table, file, row_group_size=1000)
    with fs.open("/a.parquet", "rb") as file:
        assert pq.read_table(file).equals(table)
    with fs.open("/a.parquet", "rb") as file:
        assert pq.ParquetFile(file).read_row_group(3).num_rows == 1000
    assert pq.read_table(pa.py_buffer(fs.view("/a.parquet"))).equals(table)
    with fs.open("/a.csv", "wb") as file:
        pa_csv.write_csv(table, file)
    with fs.open("/a.csv", "rb") as file:
        assert pa_csv.read_csv(file).num_rows == 10_000
    with fs.open("/a.arrow", "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with fs.open("/a.arrow", "rb") as file:
        assert pa.ipc.open_file(file).read_all().equals(table)


def test_sqlite(fs):
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a, b)")
    connection.executemany("insert into t values (?, ?)", [(n, str(n)) for n in range(1000)])
    connection.commit()
    fs.write_bytes("/a.db", connection.serialize())
    connection.close()
    for source in (fs.read_bytes("/a.db"), fs.view("/a.db")):
        again = sqlite3.connect(":memory:")
        again.deserialize(source)
        assert again.execute("select count(*), max(b) from t").fetchone() == (1000, "999")
        again.close()


def test_fspath_of_entries(fs):
    fs.write_bytes("/a", b"a")
    (entry,) = fs.scandir("/")
    assert fs.read_bytes(entry) == b"a"
    assert isinstance(entry, os.PathLike)
