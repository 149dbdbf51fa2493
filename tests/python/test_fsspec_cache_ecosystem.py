"""Libraries that read through `brimcache::`.

duckdb, dask and zarr are large: `make test-ecosystem` installs them, and without them their tests
are skipped.
"""

from __future__ import annotations

import pickle

import fsspec
import pandas as pd
import polars as pl
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.usefixtures("no_caches")

OPTIONS = {"memory_limit": "16MiB"}


@pytest.fixture
def memory():
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/", recursive=True)


@pytest.fixture
def fs(memory):
    return fsspec.filesystem("brimcache", target_protocol="memory", **OPTIONS)


@pytest.fixture
def frame():
    return pd.DataFrame({"a": range(1000), "b": [f"text {n}" for n in range(1000)]})


def needs(name):
    return pytest.importorskip(name, reason=f"{name} is not installed: make test-ecosystem")


def once(fs, files=1):
    """Each file was fetched, and once."""
    stats = fs.cache_stats()
    assert (stats.fetches, stats.files, stats.passed) == (files, files, 0)
    assert stats.hits > 0


def test_upath(memory, fs, recwarn):
    from upath import UPath

    path = UPath("brimcache::memory://d/a.txt", **OPTIONS)
    assert type(path).__name__ == "BrimCachePath"
    assert path == UPath("brimcache::memory://d/a.txt", brimcache=OPTIONS)
    assert path.write_text("text") == 4
    assert memory.cat("/d/a.txt") == b"text"
    assert path.read_text() == "text"
    assert path.read_bytes() == b"text"
    once(fs)
    assert (path.name, path.suffix, path.parent.name) == ("a.txt", ".txt", "d")
    assert str(path) == path.as_uri() == "brimcache::memory:///d/a.txt"
    assert str(path.parent / "b") == "brimcache::memory:///d/b"
    assert path.parent / "a.txt" == path
    assert UPath(str(path), **OPTIONS) == path
    assert path.stat().st_size == 4
    assert path.is_file()
    assert path.parent.is_dir()
    assert list(path.parent.iterdir()) == list(path.parent.glob("*.txt")) == [path]
    assert pickle.loads(pickle.dumps(path)) == path
    moved = path.rename(path.with_name("b.txt"))
    assert not path.exists()
    assert moved.read_text() == "text"
    moved.unlink()
    with pytest.raises(FileNotFoundError):
        moved.read_text()
    with_options = UPath("brimcache::memory://d", memory={"use_listings_cache": False})
    assert with_options.fs.fs.storage_options == {"use_listings_cache": False}
    assert [str(warning.message) for warning in recwarn] == []


def test_upath_finds_it_alone(run_script):
    done = run_script(
        """
        from upath import UPath
        path = UPath("brimcache::memory://d/a", memory_limit="16MiB")
        path.write_bytes(b"a")
        print(path.read_bytes(), path.parts, path.parent)
        """
    )
    assert (done.stdout, done.stderr) == ("b'a' ('/', 'd', 'a') brimcache::memory:///d\n", "")


def test_pandas(fs, frame):
    options = {"brimcache": OPTIONS}
    frame.to_csv("brimcache::memory://a.csv", index=False, storage_options=options)
    frame.to_parquet("memory://a.parquet")
    for _ in range(2):
        assert pd.read_csv("brimcache::memory://a.csv", storage_options=options).equals(frame)
        found = pd.read_parquet("brimcache::memory://a.parquet", storage_options=options)
        assert found.equals(frame)
    once(fs, files=2)
    frame[:10].to_csv("brimcache::memory://a.csv", index=False, storage_options=options)
    found = pd.read_csv("brimcache::memory://a.csv", storage_options=options)
    assert found.equals(frame[:10])


def test_polars(fs, frame):
    frame.to_parquet("memory://a.parquet")
    for _ in range(2):
        with fsspec.open("brimcache::memory://a.parquet", "rb", brimcache=OPTIONS) as file:
            assert pl.read_parquet(file).equals(pl.from_pandas(frame))
    dataset = pyarrow.dataset.dataset("/a.parquet", filesystem=fs)
    lazy = pl.scan_pyarrow_dataset(dataset).filter(pl.col("a") < 10)
    assert lazy.collect()["a"].to_list() == list(range(10))
    once(fs)


def test_pyarrow(fs, frame):
    frame.assign(part=frame["a"] % 3).to_parquet("memory://set", partition_cols=["part"])
    for _ in range(2):
        dataset = pyarrow.dataset.dataset("/set", filesystem=fs, partitioning="hive")
        assert dataset.count_rows() == 1000
        found = dataset.to_table(filter=pyarrow.dataset.field("part") == 1)
        assert sorted(found["a"].to_pylist()) == list(range(1, 1000, 3))
    assert sorted(pq.read_table("/set", filesystem=fs)["a"].to_pylist()) == list(range(1000))
    once(fs, files=3)


def test_duckdb(fs, frame):
    duckdb = needs("duckdb")
    frame.to_parquet("memory://a.parquet")
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        for _ in range(2):
            query = "select count(*), sum(a) from 'brimcache://a.parquet'"
            assert connection.execute(query).fetchall() == [(1000, 499500)]
    once(fs)


def test_dask(fs, frame):
    needs("dask")
    dataframe = pytest.importorskip("dask.dataframe")
    for part in range(4):
        frame[part * 250 : part * 250 + 250].to_csv(f"memory://csv/{part}.csv", index=False)
    for _ in range(2):
        found = dataframe.read_csv(
            "brimcache::memory://csv/*.csv", storage_options={"brimcache": OPTIONS}
        )
        assert found.compute()["a"].tolist() == list(range(1000))
    once(fs, files=4)


def test_dask_in_other_processes(frame, tmp_path):
    """Each of them has a cache of its own."""
    needs("dask")
    bag = pytest.importorskip("dask.bag")
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name)
    url = f"brimcache::file://{tmp_path}/*.txt"
    lines = bag.read_text(url, storage_options={"brimcache": OPTIONS})
    assert lines.compute(scheduler="processes") == ["a", "b"]


def test_zarr(fs):
    zarr = needs("zarr")
    np = pytest.importorskip("numpy")
    content = np.arange(10_000.0).reshape(100, 100)
    array = zarr.create_array("memory://a.zarr", shape=(100, 100), chunks=(50, 50), dtype="f8")
    array[:] = content
    for _ in range(2):
        found = zarr.open_array(
            "brimcache::memory://a.zarr", mode="r", storage_options={"brimcache": OPTIONS}
        )
        assert np.array_equal(found[:], content)
    assert fs.cache_stats().hits >= 4
