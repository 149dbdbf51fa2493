"""The totals of the delays: brimfs' with polars and the csv module, the source's with pandas.

The three computations share only the names of the measures, so that agreement means something.
Every measure is a whole number: totals are equal or wrong, never close.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl

from .source import ARCHIVE, FLIGHT_COLUMNS, NULL

if TYPE_CHECKING:
    from brimfs import FileSystem

Totals = dict[str, dict[str, int]]
"""Group (a carrier, a kind of weather) to measure to value."""

LATE_MINUTES = 15
LOW_VISIBILITY_MILES = 3
STRONG_WIND_MPH = 20
NO_RECORD, PRECIPITATION, LOW_VISIBILITY, STRONG_WIND, FAIR = (
    "no record",
    "rain or snow",
    "low visibility",
    "strong wind",
    "fair",
)
MEASURES = (
    "flights",
    "arrived",
    "cancelled",
    "late",
    "departure_delay",
    "arrival_delay",
    "worst_arrival_delay",
    "distance",
)


def staged_totals(fs: FileSystem, flights: pl.DataFrame) -> dict[str, Totals]:
    """Totals of the flights read back from brimfs, joined with brimfs' tables (polars)."""

    def table(name: str) -> pl.DataFrame:
        with fs.open(f"/raw/{name}.csv", "rb") as file:
            return pl.read_csv(file, null_values=NULL, infer_schema_length=None)

    weather = table("weather").select(
        "origin",
        "time_hour",
        pl.when(pl.col("precip") > 0)
        .then(pl.lit(PRECIPITATION))
        .when(pl.col("visib") < LOW_VISIBILITY_MILES)
        .then(pl.lit(LOW_VISIBILITY))
        .when(pl.col("wind_speed") >= STRONG_WIND_MPH)
        .then(pl.lit(STRONG_WIND))
        .otherwise(pl.lit(FAIR))
        .alias("weather"),
    )
    joined = (
        flights.join(table("airlines"), on="carrier", how="left", validate="m:1")
        .join(weather, on=["origin", "time_hour"], how="left", validate="m:1")
        .join(table("planes").select("tailnum", "type"), on="tailnum", how="left", validate="m:1")
        .join(
            table("airports").select(pl.col("faa").alias("dest"), pl.col("tzone")),
            on="dest",
            how="left",
            validate="m:1",
        )
        .with_columns(pl.col("weather", "type", "tzone").fill_null(NO_RECORD))
    )
    keys = {"carrier": "name", "weather": "weather", "plane": "type", "destination": "tzone"}
    return {title: _polars_totals(joined, key) for title, key in keys.items()}


def _polars_totals(joined: pl.DataFrame, key: str) -> Totals:
    grouped = joined.group_by(key).agg(
        pl.len().alias("flights"),
        pl.col("arr_delay").count().alias("arrived"),
        pl.col("dep_time").is_null().sum().alias("cancelled"),
        (pl.col("arr_delay") >= LATE_MINUTES).sum().alias("late"),
        pl.col("dep_delay").sum().alias("departure_delay"),
        pl.col("arr_delay").sum().alias("arrival_delay"),
        pl.col("arr_delay").max().alias("worst_arrival_delay"),
        pl.col("distance").sum().alias("distance"),
    )
    return {
        str(row[key]): {measure: int(row[measure]) for measure in MEASURES}
        for row in grouped.iter_rows(named=True)
    }


def source_totals(directory: Path) -> dict[str, Totals]:
    """The same totals straight from the files on the host, in one piece (pandas)."""

    def table(name: str) -> pd.DataFrame:
        return pd.read_csv(directory / name, na_values=[NULL], keep_default_na=False)

    weather = table("weather.csv")
    weather["weather"] = np.select(
        [
            weather["precip"] > 0,
            weather["visib"] < LOW_VISIBILITY_MILES,
            weather["wind_speed"] >= STRONG_WIND_MPH,
        ],
        [PRECIPITATION, LOW_VISIBILITY, STRONG_WIND],
        default=FAIR,
    )
    airports = table("airports.csv").rename(columns={"faa": "dest"})
    joined = (
        table(ARCHIVE)
        .merge(table("airlines.csv"), on="carrier", how="left", validate="m:1")
        .merge(
            weather[["origin", "time_hour", "weather"]],
            on=["origin", "time_hour"],
            how="left",
            validate="m:1",
        )
        .merge(table("planes.csv")[["tailnum", "type"]], on="tailnum", how="left", validate="m:1")
        .merge(airports[["dest", "tzone"]], on="dest", how="left", validate="m:1")
    )
    joined["cancelled"] = joined["dep_time"].isna()
    joined["late"] = joined["arr_delay"] >= LATE_MINUTES
    keys = {"carrier": "name", "weather": "weather", "plane": "type", "destination": "tzone"}
    return {title: _pandas_totals(joined, key) for title, key in keys.items()}


def _pandas_totals(joined: pd.DataFrame, key: str) -> Totals:
    grouped = joined.groupby(joined[key].fillna(NO_RECORD)).agg(
        flights=("year", "size"),
        arrived=("arr_delay", "count"),
        cancelled=("cancelled", "sum"),
        late=("late", "sum"),
        departure_delay=("dep_delay", "sum"),
        arrival_delay=("arr_delay", "sum"),
        worst_arrival_delay=("arr_delay", "max"),
        distance=("distance", "sum"),
    )
    return {
        str(group): {measure: int(row[measure]) for measure in MEASURES}
        for group, row in grouped.iterrows()
    }


class CsvTotals:
    """Totals by carrier code, added up row by row from the CSV partitions; any thread may add."""

    _DEPARTED, _DEPARTURE, _ARRIVAL, _DISTANCE = (
        list(FLIGHT_COLUMNS).index(name)
        for name in ("dep_time", "dep_delay", "arr_delay", "distance")
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_code: Totals = {}

    def add(self, carrier: str, rows: Iterator[list[str]]) -> None:
        part = dict.fromkeys(MEASURES, 0)
        worst: int | None = None
        for row in rows:
            part["flights"] += 1
            part["cancelled"] += row[self._DEPARTED] == NULL
            part["distance"] += int(row[self._DISTANCE])
            if row[self._DEPARTURE] != NULL:
                part["departure_delay"] += int(row[self._DEPARTURE])
            if row[self._ARRIVAL] != NULL:
                part["arrived"] += 1
                delay = int(row[self._ARRIVAL])
                part["arrival_delay"] += delay
                part["late"] += delay >= LATE_MINUTES
                worst = delay if worst is None else max(worst, delay)
        with self._lock:
            self._merge(carrier, part, worst)

    def _merge(self, carrier: str, part: dict[str, int], worst: int | None) -> None:
        total = self._by_code.setdefault(carrier, {})
        for measure in MEASURES:
            if measure != "worst_arrival_delay":
                total[measure] = total.get(measure, 0) + part[measure]
        if worst is not None:
            total["worst_arrival_delay"] = max(total.get("worst_arrival_delay", worst), worst)

    def by_name(self, names: dict[str, str]) -> Totals:
        return {names[code]: total for code, total in self._by_code.items()}


def differences(label: str, found: Totals, expected: Totals) -> list[str]:
    """One line for every group or measure in which `found` is not what the source says."""
    lines = [f"{label}: {group!r} is missing" for group in expected.keys() - found.keys()]
    lines += [
        f"{label}: {group!r} is not in the source" for group in found.keys() - expected.keys()
    ]
    for group in sorted(expected.keys() & found.keys()):
        for measure in MEASURES:
            got, want = found[group].get(measure), expected[group][measure]
            if got != want:
                lines.append(f"{label}: {group!r} {measure} is {got}, the source says {want}")
    return lines
