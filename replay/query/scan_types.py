"""Values that a scan extracts from each state, and the stretches of the log in which it returns them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[Any]]


def as_drawn(numbers: Numbers) -> Numbers:
    """Whole numbers that SQL has made."""
    return numbers


@dataclass(frozen=True)
class Drawn:
    """A number that is taken out of each state."""

    value: str
    """SQL over the columns of `history` and those of an expression."""
    whole: Callable[[Numbers], Numbers] = as_drawn
    """Makes whole numbers of a column, where SQL would take longer to."""


@dataclass(frozen=True)
class Stretch:
    """The changes of one stretch of the log, in the order of their numbers."""

    until: int
    """Its last offset; it begins where the one before ended."""
    changes: Numbers
    """Their numbers."""
    offsets: Numbers
    now: Numbers
    """The values of each state: a row a value, a column a change."""
    before: Numbers
    """The same of the document's state before; 0 where it had none."""
