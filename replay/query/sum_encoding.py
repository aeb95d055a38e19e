"""How numbers of states are added without losing a digit: as whole numbers of a smallest unit.

What one state adds is taken apart into whole numbers that have room in 64 bits; their sums are put
together again.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from replay.query.scan_types import Extraction, NumberArray
from replay.query.sql_compiler import EXACT_NUMBER_TYPE

_MILLION = 1_000_000
_MAX_SUM = 10**18
"""Sums of millionths stay below it; a step is far smaller than what is left to 64 bits above it."""
_LIMB = 10**10
_LIMBS = range(4)
"""38 digits, ten at a time: what 900 million documents add to each has room in 64 bits."""


class SumEncoding(Protocol):
    """One way to write numbers."""

    def split_sql(self, number: str, double: str) -> list[str]:
        """SQL for the whole numbers that stand for one; fails where it doesn't fit."""

    def extractions(self, number: str, double: str) -> list[Extraction]:
        """The same for a sweep; raises `SumOverflowError` where one doesn't fit."""

    def join_sql(self, sums: Sequence[str]) -> str:
        """SQL for the number that sums of those stand for."""

    def raise_if_overflowing(self, sums: NumberArray) -> None:
        """Raise `SumOverflowError` where a sum may not be right."""


class SumOverflowError(Exception):
    """A sum needs more digits than the notation has."""


class MillionthsEncoding:
    """Numbers as whole millionths, in 64 bits: several times as fast as in full."""

    def split_sql(self, _number: str, double: str) -> list[str]:
        """SQL for the whole numbers that stand for one; fails where it doesn't fit."""
        whole = f"round({double} * {_MILLION})"
        exact = f"{whole} / {_MILLION} = {double} AND abs({double}) < {2**53 // _MILLION}"
        return [
            f"CASE WHEN {double} IS NULL THEN 0 WHEN {exact} THEN CAST({whole} AS BIGINT)"
            " ELSE error('more digits than whole millionths have') END"
        ]

    def extractions(self, _number: str, double: str) -> list[Extraction]:
        """The same for a sweep; raises `SumOverflowError` where one doesn't fit."""
        return [Extraction(f"coalesce({double}, 0)", _to_millionths)]

    def join_sql(self, sums: Sequence[str]) -> str:
        """SQL for the number that sums of those stand for."""
        return f"CAST({sums[0]} AS DECIMAL(18, 0)) * CAST({1 / _MILLION:f} AS DECIMAL(7, 6))"

    def raise_if_overflowing(self, sums: NumberArray) -> None:
        """Raise `SumOverflowError` where a sum may not be right."""
        if sums.size and max(sums.max(), -sums.min()) >= _MAX_SUM:
            raise SumOverflowError


class FullPrecisionEncoding:
    """Numbers of 38 digits, twelve of them behind the point (see `sql_compiler.EXACT_NUMBER_TYPE`)."""

    def split_sql(self, number: str, double: str) -> list[str]:
        fit = f"TRY_CAST({number} AS {EXACT_NUMBER_TYPE})"
        lost = (
            f"CASE WHEN {double} IS NULL THEN 0 ELSE error('a number has more than 26 digits') END"
        )
        exact = f"CAST(coalesce({fit}, {lost}) AS VARCHAR)"
        whole = f"CAST(replace({exact}, '.', '') AS HUGEINT)"
        return [f"CAST({whole} // {_LIMB**n} % {_LIMB} AS BIGINT)" for n in _LIMBS]

    def extractions(self, number: str, double: str) -> list[Extraction]:
        return [Extraction(one) for one in self.split_sql(number, double)]

    def join_sql(self, sums: Sequence[str]) -> str:
        whole = " + ".join(f"CAST({s} AS HUGEINT) * {_LIMB**n}" for n, s in enumerate(sums))
        fraction = f"CAST(({whole}) % {10**12} AS DECIMAL(12, 0))"
        return (
            f"CAST(({whole}) // {10**12} AS {EXACT_NUMBER_TYPE})"
            f" + {fraction} * CAST(0.{1:012} AS DECIMAL(13, 12))"
        )

    def raise_if_overflowing(self, sums: NumberArray) -> None:
        """There is room."""


def _to_millionths(numbers: NumberArray) -> NumberArray:
    millionths = np.rint(numbers * _MILLION)
    exact = millionths / _MILLION == numbers
    if not exact.all() or np.abs(numbers).max(initial=0) >= 2**53 // _MILLION:
        raise SumOverflowError
    whole: NumberArray = millionths.astype(np.int64)
    return whole
