"""Number points, as parallel numpy columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Points:
    """Number points as parallel columns of one length.

    Attributes:
        series_id: int64.
        time_unix_nano: int64, always > 0.
        start_time_unix_nano: int64, 0 if unknown.
        value: float64; NaN and infinities are valid values.
        recorded: bool; False is OTLP's "no recorded value", and `value` has no meaning.
    """

    series_id: Int64Array
    time_unix_nano: Int64Array
    start_time_unix_nano: Int64Array
    value: npt.NDArray[np.float64]
    recorded: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.series_id)

    def take(self, positions: npt.NDArray[np.intp]) -> Points:
        """The rows at these positions, in their order."""
        return Points(
            series_id=self.series_id[positions],
            time_unix_nano=self.time_unix_nano[positions],
            start_time_unix_nano=self.start_time_unix_nano[positions],
            value=self.value[positions],
            recorded=self.recorded[positions],
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Points]) -> Points:
        """All rows of the parts, in their order."""
        filled = [part for part in parts if len(part)]
        if not filled:
            return NO_POINTS
        if len(filled) == 1:
            return filled[0]
        return cls(
            series_id=np.concatenate([part.series_id for part in filled]),
            time_unix_nano=np.concatenate([part.time_unix_nano for part in filled]),
            start_time_unix_nano=np.concatenate([part.start_time_unix_nano for part in filled]),
            value=np.concatenate([part.value for part in filled]),
            recorded=np.concatenate([part.recorded for part in filled]),
        )


NO_POINTS: Final = Points(
    series_id=np.empty(0, np.int64),
    time_unix_nano=np.empty(0, np.int64),
    start_time_unix_nano=np.empty(0, np.int64),
    value=np.empty(0, np.float64),
    recorded=np.empty(0, np.bool_),
)
