"""Libraries that read and write `brim://` through fsspec.

duckdb, dask and zarr are large: `make test-ecosystem` installs them, and without them their tests
are skipped.
"""

from __future__ import annotations

import pickle

import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

import brimfs.fsspec


@pytest.fixture(autouse=True)
def empty():
    brimfs.fsspec.clear()
    yield
    brimfs.fsspec.clear()


@pytest.fixture
def frame():
    return pd.DataFrame({"a": range(1000), "b": [f"text {n}" for n in range(1000)]})


def needs(name):
    return pytest.importorskip(name, reason=f"{name} is not installed: make test-ecosystem")


# universal_pathlib


def test_upath(recwarn):
    from upath import UPath

    path = UPath("brim://s/d/a.txt")
    assert type(path).__name__ == "BrimPath"
    assert path.write_text("text") == 4
    assert path.read_text() == "text"
    assert path.read_bytes() == b"text"
    assert (path.name, path.suffix, path.parent.name) == ("a.txt", ".txt", "d")
    assert str(path) == path.as_uri() == "brim://s/d/a.txt"
    assert path.stat().st_size == 4
    assert path.exists()
    assert path.is_file()
    assert path.parent.is_dir()
    assert list(path.parent.iterdir()) == [path]
    assert list(UPath("brim://s").glob("**/*.txt")) == [path]
    moved = path.rename(path.with_name("b.txt"))
    assert not path.exists()
    with moved.open("a") as file:
        file.write(" more")
    assert moved.read_text() == "text more"
    (UPath("brim://s") / "x" / "y").mkdir(parents=True)
    with pytest.raises(FileExistsError):
        UPath("brim://s/x").mkdir()
    (UPath("brim://s") / "x" / "y").rmdir()
    moved.unlink()
    with pytest.raises(FileNotFoundError, match=r"brim://s/d/b.txt"):
        moved.read_text()
    assert pickle.loads(pickle.dumps(path)) == path
    assert UPath("brim://s/d", quota="1MiB") != UPath("brim://s/d")
    assert [str(warning.message) for warning in recwarn] == []


def test_upath_finds_it_alone(run_script):
    done = run_script(
        """
        from upath import UPath
        path = UPath("brim://s/d/a", quota="1MiB")
        path.write_bytes(b"a")
        print(path.read_bytes(), path.parts, path.parent)
        """
    )
    assert (done.stdout, done.stderr) == ("b'a' ('/', 's', 'd', 'a') brim://s/d\n", "")


# pandas


def test_pandas(brim, frame):
    frame.to_csv("brim://s/new/a.csv", index=False)
    assert pd.read_csv("brim://s/new/a.csv").equals(frame)
    frame.to_csv("brim://s/a.csv.gz", index=False)
    assert pd.read_csv("brim://s/a.csv.gz").equals(frame)
    assert brim.size("s/a.csv.gz") < brim.size("s/new/a.csv")
    frame.to_parquet("brim://s/a.parquet")
    assert pd.read_parquet("brim://s/a.parquet").equals(frame)
    frame.to_pickle("brim://s/a.pickle")
    assert pd.read_pickle("brim://s/a.pickle").equals(frame)
    frame.to_json("brim://s/a.json")
    assert pd.read_json("brim://s/a.json").equals(frame)
    frame.assign(part=frame["a"] % 3).to_parquet("brim://s/parts", partition_cols=["part"])
    assert len(brim.ls("s/parts")) == 3
    assert sorted(pd.read_parquet("brim://s/parts")["a"]) == list(range(1000))
    with pytest.raises(FileNotFoundError, match=r"brim://s/none.csv"):
        pd.read_csv("brim://s/none.csv")


def test_pandas_with_options(frame):
    options = {"quota": "1MiB"}
    frame.to_csv("brim://s/a.csv", storage_options=options)
    assert len(pd.read_csv("brim://s/a.csv", storage_options=options)) == 1000
    assert brimfs.fsspec.store("s").stats().quota_limit == 1 << 20
    with pytest.raises(ValueError, match="quota"):
        pd.read_csv("brim://s/a.csv", storage_options={"quota": "2MiB"})


# polars


def test_polars(brim, frame):
    """Through open files and datasets: the URLs that polars takes are those it has built in."""
    frame = pl.from_pandas(frame)
    for write, read, name in (
        (pl.DataFrame.write_csv, pl.read_csv, "a.csv"),
        (pl.DataFrame.write_parquet, pl.read_parquet, "a.parquet"),
        (pl.DataFrame.write_ndjson, pl.read_ndjson, "a.json"),
    ):
        with fsspec.open(f"brim://s/{name}", "wb") as file:
            write(frame, file)
        with fsspec.open(f"brim://s/{name}", "rb") as file:
            assert read(file).equals(frame)
        assert read(brim.cat_file(f"s/{name}")).equals(frame)
    dataset = pyarrow.dataset.dataset("s/a.parquet", filesystem=brim)
    lazy = pl.scan_pyarrow_dataset(dataset).filter(pl.col("a") < 10)
    assert lazy.collect()["a"].to_list() == list(range(10))


# pyarrow


def test_pyarrow_datasets(brim):
    table = pa.table({"a": list(range(1000)), "part": [n % 3 for n in range(1000)]})
    pyarrow.dataset.write_dataset(
        table, "s/set", filesystem=brim, format="parquet", partitioning=["part"]
    )
    assert len(brim.find("s/set")) == 3
    dataset = pyarrow.dataset.dataset("s/set", filesystem=brim, partitioning=["part"])
    assert dataset.count_rows() == 1000
    found = dataset.to_table(filter=pyarrow.dataset.field("part") == 1)
    assert sorted(found["a"].to_pylist()) == list(range(1, 1000, 3))
    by_name = pyarrow.dataset.dataset("fsspec+brim://s/set", partitioning=["part"])
    assert by_name.count_rows() == 1000


def test_pyarrow_parquet(brim):
    table = pa.table({"a": list(range(10_000))})
    pq.write_table(table, "s/new/a.parquet", filesystem=brim, row_group_size=1000)
    assert pq.read_table("s/new/a.parquet", filesystem=brim).equals(table)
    with brim.open("s/new/a.parquet") as file:
        assert pq.ParquetFile(file).read_row_group(3)["a"].to_pylist() == list(range(3000, 4000))
    assert pq.read_table("fsspec+brim://s/new/a.parquet").equals(table)


def test_a_filesystem_of_pyarrow(brim):
    filesystem = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(brim))
    filesystem.create_dir("s/d/e")
    with filesystem.open_output_stream("s/d/a") as stream:
        stream.write(b"abc")
    with filesystem.open_append_stream("s/d/a") as stream:
        stream.write(b"def")
    with filesystem.open_input_file("s/d/a") as file:
        assert file.size() == 6
        assert file.read_at(2, 3) == b"de"
    filesystem.copy_file("s/d/a", "s/d/b")
    filesystem.move("s/d/b", "s/d/e/b")
    found = filesystem.get_file_info(pyarrow.fs.FileSelector("s", recursive=True))
    assert [info.path for info in found if info.is_file] == ["s/d/a", "s/d/e/b"]
    assert filesystem.get_file_info("s/none").type == pyarrow.fs.FileType.NotFound
    assert filesystem.get_file_info("s/d").type == pyarrow.fs.FileType.Directory
    filesystem.delete_file("s/d/a")
    filesystem.delete_dir_contents("s/d")
    assert brim.find("s", withdirs=True) == ["s", "s/d"]
    filesystem.delete_dir("s/d")
    assert brim.ls("s") == []


# duckdb


def test_duckdb(brim, frame):
    duckdb = needs("duckdb")
    frame.to_parquet("brim://s/in.parquet")
    with duckdb.connect() as connection:
        connection.register_filesystem(brim)
        query = "select count(*), sum(a) from 'brim://s/in.parquet'"
        assert connection.execute(query).fetchall() == [(1000, 499500)]
        connection.execute(
            "copy (select a, b from 'brim://s/in.parquet' where a < 10) to 'brim://t/out.csv'"
        )
        connection.execute(
            "copy (select a, a % 3 as part from 'brim://s/in.parquet')"
            " to 'brim://t/parts' (format parquet, partition_by (part))"
        )
        query = "select sum(a) from read_parquet('brim://t/parts/*/*.parquet')"
        assert connection.execute(query).fetchall() == [(499500,)]
        query = "select count(*) from read_csv('brim://*/*.csv')"
        assert connection.execute(query).fetchall() == [(10,)]
    assert pd.read_csv("brim://t/out.csv").equals(frame[:10])


# dask


def test_dask(brim, frame):
    needs("dask")
    dataframe = pytest.importorskip("dask.dataframe")
    parts = dataframe.from_pandas(frame, npartitions=4)
    parts.to_csv("brim://s/csv/*.csv", index=False)
    assert len(brim.ls("s/csv")) == 4
    assert dataframe.read_csv("brim://s/csv/*.csv").compute()["a"].tolist() == list(range(1000))
    parts.to_parquet("brim://s/parquet")
    assert dataframe.read_parquet("brim://s/parquet")["a"].sum().compute() == 499500


def test_dask_in_other_processes(brim):
    """Other processes have other stores, and are told so."""
    needs("dask")
    bag = pytest.importorskip("dask.bag")
    lines = bag.from_sequence(["one", "two"], npartitions=2)
    lines.to_textfiles("brim://s/*.txt", scheduler="threads")
    found = bag.read_text("brim://s/*.txt").compute(scheduler="threads")
    assert [line.strip() for line in found] == ["one", "two"]
    with pytest.raises(FileNotFoundError, match="comes from another process"):
        lines.to_textfiles("brim://lost/*.txt", scheduler="processes")


# zarr


def test_zarr(brim):
    zarr = needs("zarr")
    np = pytest.importorskip("numpy")
    content = np.arange(10_000.0).reshape(100, 100)
    array = zarr.create_array("brim://s/a.zarr", shape=(100, 100), chunks=(10, 25), dtype="f8")
    array[:] = content
    assert len(brim.find("s/a.zarr/c")) == 40
    array[5, 5] = -1
    content[5, 5] = -1
    assert np.array_equal(zarr.open_array("brim://s/a.zarr", mode="r")[:], content)
    group = zarr.open_group("brim://s/group.zarr", mode="w")
    group.create_array("deep/x", shape=(10,), chunks=(5,), dtype="i4")[:] = 7
    again = zarr.open_group("brim://s/group.zarr", mode="r")
    assert int(again["deep/x"][:].sum()) == 70
    assert list(again.group_keys()) == ["deep"]
    del zarr.open_group("brim://s/group.zarr", mode="a")["deep"]
    assert not brim.exists("s/group.zarr/deep")
