"""Values that a scan extracts from each state, and the stretches of the log in which it returns them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

NumberArray = np.ndarray[Any, np.dtype[Any]]


def keep_numbers(numbers: NumberArray) -> NumberArray:
    """Whole numbers that SQL has made."""
    return numbers


@dataclass(frozen=True)
class Extraction:
    """A number that is taken out of each state."""

    sql: str
    """SQL over the columns of `history` and those of an expression."""
    to_whole_numbers: Callable[[NumberArray], NumberArray] = keep_numbers
    """Makes whole numbers of a column, where SQL would take longer to."""


@dataclass(frozen=True)
class ScanChunk:
    """The changes of one stretch of the log, in the order of their numbers."""

    last_offset: int
    """Its last offset; it begins where the one before ended."""
    change_numbers: NumberArray
    """Their numbers."""
    offsets: NumberArray
    values: NumberArray
    """The values of each state: a row a value, a column a change."""
    previous_values: NumberArray
    """The same of the document's state before; 0 where it had none."""
