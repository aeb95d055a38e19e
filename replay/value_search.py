"""Searches the columns of a table for many erased values at once."""

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
"""Characters of the shortest text to search for; shorter texts occur almost everywhere."""
_MOST_FORMS = 20_000
"""The most spellings of all values to search for in the whole log."""


class ValueSearch:
    """A search for many texts at once (Aho and Corasick 1975, by Polars).

    A match must not be part of a longer word (`order-3` doesn't match in `order-30`) and must not be
    the name of a JSON member.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._forms = sorted({f for t in texts if len(t) >= _SHORTEST for f in _forms(t)})

    @property
    def few(self) -> bool:
        """Whether the texts are few enough to search the whole log for them."""
        return len(self._forms) <= _MOST_FORMS

    def rows(self, rows: pa.Table, columns: Sequence[str]) -> Truths:
        """For each row: whether any of these columns contains any of the texts."""
        found = np.zeros(rows.num_rows, bool)
        if not self._forms:
            return found
        for name in columns:
            texts = pl.Series(_as_text(rows[name]))
            at = np.flatnonzero(texts.str.contains_any(self._forms).fill_null(value=False))
            near = texts[at]
            forms = near.str.extract_many(self._forms, overlapping=True).to_list()
            whole_matches = (
                any(_is_whole(text, form) for form in set(met))
                for text, met in zip(near.to_list(), forms, strict=True)
            )
            found[at] |= np.fromiter(whole_matches, bool, len(at))
        return found


def _as_text(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as text; invalid UTF-8 in bytes is replaced, the readable rest is kept."""
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
    """Return the spellings of a text inside other texts: plain, escaped in JSON, quoted in a URL."""
    return {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text)}
