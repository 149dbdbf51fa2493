"""The ETL demo's job on a small source of its own: it agrees with the source, or says where not."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path
from typing import Self

import pytest

import brimfs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"
DAYS = [(2013, 1, 31), (2013, 10, 1), (2013, 2, 1)]
CARRIERS = {"AA": "One Airline", "BB": "Another Airline", "CC": "A Third"}
FLIGHTS_PER_DAY = 400


class NoView:
    """A progress view that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, name: str, done: int, total: int | None) -> None:
        pass


@pytest.fixture(autouse=True)
def examples_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory like the data package's, with a cancelled flight, a diverted one, no weather."""
    from etl.source import HEADER

    choice = random.Random(1)
    lines = []
    for number, (year, month, day) in enumerate(DAYS * FLIGHTS_PER_DAY):
        carrier = choice.choice(list(CARRIERS))
        delay = choice.randint(-20, 200)
        gone, came = (delay, delay + 5) if number % 7 else ("NA", "NA")
        came = came if number % 11 else "NA"
        departed = "NA" if gone == "NA" else 930
        hour = f"{year}-{month:02}-{day:02}T{choice.randint(9, 12):02}:00:00Z"
        lines.append(
            f"{year},{month},{day},{departed},930,{gone},1130,1125,{came},{carrier},{number},"
            f"N{number % 5},EWR,{choice.choice(['IAH', 'XXX'])},NA,{choice.randint(100, 999)},"
            f"9,30,{hour}\n"
        )
    lines.sort(key=lambda line: DAYS.index(tuple(map(int, line.split(",")[:3]))))
    with zipfile.ZipFile(tmp_path / "flights.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flights.csv", HEADER.decode() + "".join(lines))
    _write_tables(tmp_path)
    return tmp_path


def _write_tables(directory: Path) -> None:
    weather = [
        f"EWR,{precipitation},{visibility},{wind},{year}-{month:02}-{day:02}T{hour:02}:00:00Z"
        for year, month, day in DAYS
        for hour, precipitation, visibility, wind in (
            (9, "0.1", 10, 5),
            (10, "0", 1, 5),
            (11, "0", 10, "NA"),
        )
    ]
    tables = {
        "airlines": ["carrier,name", *(",".join(pair) for pair in CARRIERS.items())],
        "airports": ["faa,name,tzone", "IAH,Houston,America/Chicago"],
        "planes": ["tailnum,type", "N1,Glider", "N2,Balloon"],
        "weather": ["origin,precip,visib,wind_speed,time_hour", *weather],
    }
    for name, rows in tables.items():
        (directory / f"{name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_the_totals_agree_with_the_source(fs: brimfs.FileSystem, source: Path) -> None:
    from etl.job import run_job

    result = run_job(fs, source, 8, NoView)
    assert result.mismatches == []
    assert result.partitions == len(DAYS) * len(CARRIERS)
    flights = sum(row["flights"] for row in result.totals["carrier"].values())
    assert flights == len(DAYS) * FLIGHTS_PER_DAY
    assert {"rain or snow", "low visibility", "fair", "no record"} == set(result.totals["weather"])


def test_a_lost_row_is_reported(
    fs: brimfs.FileSystem, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etl import job, stages

    def losing(block: bytes) -> dict[str, dict[str, list[bytes]]]:
        return split(block[: block.rindex(b"\n", 0, -1) + 1])

    split = stages.split_block
    monkeypatch.setattr(stages, "split_block", losing)
    mismatches = job.run_job(fs, source, 2, NoView).mismatches
    assert any(line.startswith("Parquet by carrier") for line in mismatches)
    assert any(line.startswith("CSV by carrier") for line in mismatches)
    assert any(line.startswith("staged") for line in mismatches)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_too_small_a_quota_ends_in_its_error(source: Path, share: float) -> None:
    from etl.job import run_job

    with brimfs.FileSystem(memory_limit="64MiB") as fs:
        run_job(fs, source, 4, NoView)
        needed = fs.stats().quota_used
    with brimfs.FileSystem(quota=int(needed * share), memory_limit="64MiB") as fs:
        before = fs.stats()
        with pytest.raises(brimfs.QuotaExceeded):
            run_job(fs, source, 4, NoView)
        for name in fs.listdir("/"):
            fs.rmtree(f"/{name}")
        after = fs.stats()
        fs._audit()
        assert (after.quota_used, after.nodes, after.open_handles) == (
            before.quota_used,
            before.nodes,
            0,
        )


def test_days_are_released_when_all_their_blocks_are_written() -> None:
    from etl.crew import DayTracker

    released: list[tuple[str, set[str]]] = []
    tracker = DayTracker(lambda day, carriers: released.append((day, carriers)))
    tracker.block_done(1, [("d1", {"B"}), ("d2", {"A"})])
    assert released == []
    tracker.block_done(0, [("d1", {"A"})])
    assert released == [("d1", {"A", "B"})]
    with pytest.raises(ValueError, match="d1"):
        tracker.block_done(2, [("d1", {"C"})])


def test_a_block_that_was_never_written_is_noticed() -> None:
    from etl.crew import DayTracker

    tracker = DayTracker(lambda day, carriers: None)
    tracker.block_done(1, [("d1", {"A"})])
    with pytest.raises(RuntimeError, match="block 0"):
        tracker.finish()
