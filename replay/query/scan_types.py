"""Values that a scan extracts from each state, and the stretches of the log in which it returns them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

NumberArray = np.ndarray[Any, np.dtype[Any]]


def keep_numbers(numbers: NumberArray) -> NumberArray:
    """Return the numbers unchanged, because SQL already made them whole."""
    return numbers


@dataclass(frozen=True)
class Extraction:
    """A number to extract from each state."""

    sql: str
    """SQL over the columns of `history` and those of an expression."""
    to_whole_numbers: Callable[[NumberArray], NumberArray] = keep_numbers
    """Converts a column to whole numbers, if that is faster here than in SQL."""


@dataclass(frozen=True)
class ScanChunk:
    """The changes of one stretch of the log, in the order of their numbers."""

    last_offset: int
    """The stretch's last offset; it begins after the last offset of the stretch before."""
    change_numbers: NumberArray
    offsets: NumberArray
    values: NumberArray
    """The values of each state: one row for each extraction, one column for each change."""
    previous_values: NumberArray
    """The same for the document's state before the change; 0 if it had none."""
