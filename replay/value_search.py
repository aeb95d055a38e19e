"""Searching the columns of a table for removed values, all values at once."""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

Truths = np.ndarray[Any, np.dtype[np.bool_]]

_SHORTEST = 4
"""Characters of the shortest text that is looked for elsewhere; shorter ones are in everything."""
_MOST_FORMS = 20_000
"""Texts that are looked for in all other events."""


class ValueSearch:
    """Looks for texts in texts, all at once (Aho and Corasick 1975, by Polars).

    A text is found where it isn't part of a longer word, nor the name of a member: `order-3` isn't in
    `order-30`.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._forms = sorted({f for t in texts if len(t) >= _SHORTEST for f in _forms(t)})

    @property
    def few(self) -> bool:
        """Whether they can be looked for in the whole log."""
        return len(self._forms) <= _MOST_FORMS

    def rows(self, rows: pa.Table, columns: Sequence[str]) -> Truths:
        """Whether any of these columns contains any of the texts."""
        found = np.zeros(rows.num_rows, bool)
        if not self._forms:
            return found
        for name in columns:
            texts = pl.Series(_as_text(rows[name]))
            at = np.flatnonzero(texts.str.contains_any(self._forms).fill_null(value=False))
            near = texts[at]
            forms = near.str.extract_many(self._forms, overlapping=True).to_list()
            told = (
                any(_is_whole(text, form) for form in set(met))
                for text, met in zip(near.to_list(), forms, strict=True)
            )
            found[at] |= np.fromiter(told, bool, len(at))
        return found


def _as_text(column: pa.ChunkedArray) -> pa.Array:
    """A column as text; bytes that are no text keep what is readable in them."""
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        texts = [
            None if data is None else data.decode("utf-8", "replace") for data in column.to_pylist()
        ]
        return pa.array(texts, pa.large_string())
    return pc.cast(column, pa.large_string())


def _is_whole(text: str, form: str) -> bool:
    at = text.find(form)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(form) : at + len(form) + 2]
        part = (_is_word(before) and _is_word(form[0])) or (
            _is_word(after[:1]) and _is_word(form[-1])
        )
        if not (part or after == '":'):
            return True
        at = text.find(form, at + 1)
    return False


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _forms(text: str) -> set[str]:
    """A text as it may be written inside of others: plain, in JSON, in an address."""
    return {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text)}
