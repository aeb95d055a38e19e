"""Encodings of numbers for exact sums: as whole numbers of a smallest unit.

The number that one state adds is split into whole numbers that fit into 64 bits; the sums of these are
joined into one number again.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from replay.query.scan_types import Extraction, NumberArray
from replay.query.sql_compiler import EXACT_NUMBER_TYPE

_MILLION = 1_000_000
_MAX_SUM = 10**18
"""The limit for sums of millionths. One summand is far smaller than the room left in 64 bits above it."""
_LIMB = 10**10
_LIMBS = range(4)
"""38 digits, ten in each limb: the sum of 900 million documents fits into 64 bits."""


class SumEncoding(Protocol):
    """One way to split a number into whole numbers."""

    def split_sql(self, number: str, double: str) -> list[str]:
        """Return SQL for the whole numbers that encode a number; the query fails if it doesn't fit."""

    def extractions(self, number: str, double: str) -> list[Extraction]:
        """Return the same for a scan, which raises `SumOverflowError` if a number doesn't fit."""

    def join_sql(self, sums: Sequence[str]) -> str:
        """Return SQL for the number that sums of the whole numbers encode."""

    def raise_if_overflowing(self, sums: NumberArray) -> None:
        """Raise `SumOverflowError` if a sum may have overflowed."""


class SumOverflowError(Exception):
    """A sum needs more digits than the encoding has."""


class MillionthsEncoding:
    """Numbers as whole millionths in 64 bits: several times as fast as full precision."""

    def split_sql(self, _number: str, double: str) -> list[str]:
        whole = f"round({double} * {_MILLION})"
        exact = f"{whole} / {_MILLION} = {double} AND abs({double}) < {2**53 // _MILLION}"
        return [
            f"CASE WHEN {double} IS NULL THEN 0 WHEN {exact} THEN CAST({whole} AS BIGINT)"
            " ELSE error('more digits than whole millionths have') END"
        ]

    def extractions(self, _number: str, double: str) -> list[Extraction]:
        return [Extraction(f"coalesce({double}, 0)", _to_millionths)]

    def join_sql(self, sums: Sequence[str]) -> str:
        return f"CAST({sums[0]} AS DECIMAL(18, 0)) * CAST({1 / _MILLION:f} AS DECIMAL(7, 6))"

    def raise_if_overflowing(self, sums: NumberArray) -> None:
        if sums.size and max(sums.max(), -sums.min()) >= _MAX_SUM:
            raise SumOverflowError


class FullPrecisionEncoding:
    """Numbers of 38 digits, twelve after the decimal point (see `sql_compiler.EXACT_NUMBER_TYPE`)."""

    def split_sql(self, number: str, double: str) -> list[str]:
        fitting = f"TRY_CAST({number} AS {EXACT_NUMBER_TYPE})"
        zero_or_error = (
            f"CASE WHEN {double} IS NULL THEN 0 ELSE error('a number has more than 26 digits') END"
        )
        exact = f"CAST(coalesce({fitting}, {zero_or_error}) AS VARCHAR)"
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
        """Never raise, because the limbs leave room."""


def _to_millionths(numbers: NumberArray) -> NumberArray:
    millionths = np.rint(numbers * _MILLION)
    exact = millionths / _MILLION == numbers
    if not exact.all() or np.abs(numbers).max(initial=0) >= 2**53 // _MILLION:
        raise SumOverflowError
    whole: NumberArray = millionths.astype(np.int64)
    return whole
