"""What a row is: how it is prepared, in which unit it is shown, what is to be reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .measure import Reach, Round, Scale, Unit
from .peers import Candidate


@dataclass(frozen=True)
class Row:
    """One row of the table. `prepare` answers None for a candidate that cannot do it."""

    id: str
    title: str
    unit: Unit
    reach: Reach
    prepare: Callable[[Candidate, Scale], Round | None]
    wall: bool = False
    reference: bool = False
    """Also measured with `io.BytesIO`, which then is what to reach."""
