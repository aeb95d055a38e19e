"""Times as sources write them: which notations there are, and the SQL that reads each as UTC.

A time without a zone is taken as UTC. What can't be read becomes NULL, never a guess.
"""

import re
from collections.abc import Sequence
from datetime import datetime

_EPOCHS = (("epoch_s", 1), ("epoch_ms", 10**3), ("epoch_us", 10**6), ("epoch_ns", 10**9))
_EARLIEST_SECONDS = 315_532_800
"""1980-01-01 in seconds: a smaller number is a duration or a counter, not a date."""
_LATEST_SECONDS = 4_102_444_800
"""2100-01-01 in seconds."""

PATTERNS = (
    "%Y/%m/%d %H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d-%m-%Y:%H.%M",
    "%d-%m-%Y %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%a, %d %b %Y %H:%M:%S %Z",
    "%d/%b/%Y:%H:%M:%S %z",
)
"""Notations besides ISO 8601 and epochs, in strptime's words; the first that reads all values."""

UNREADABLE = "unreadable_time"
"""The member of an event's meta that keeps the text of its time, if that can't be read."""

NOTATIONS = ("iso", *(name for name, _ in _EPOCHS), *PATTERNS)
"""All that `read_as_utc` knows."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


def detect_notation(values: Sequence[object]) -> str | None:
    """How these values write a time: `iso`, `epoch_s` … `epoch_ns`, a pattern, or None if they don't.

    At least four in five of the values must agree.
    """
    texts = [str(value).strip() for value in values if value not in (None, "")]
    texts = [text for text in texts if text]
    if not texts:
        return None
    enough = 0.8 * len(texts)
    numbers = [float(text) for text in texts if _NUMBER.fullmatch(text)]
    if len(numbers) >= enough:
        for name, unit in _EPOCHS:
            if (
                sum(
                    _EARLIEST_SECONDS * unit <= number < _LATEST_SECONDS * unit
                    for number in numbers
                )
                >= enough
            ):
                return name
        return None
    if sum(_is_iso_time(text) for text in texts) >= enough:
        return "iso"
    for pattern in PATTERNS:
        if sum(_matches_pattern(text, pattern) for text in texts) >= enough:
            return pattern
    return None


def utc_time_sql(text: str, notation_name: str) -> str:
    """SQL that reads the SQL expression `text` (VARCHAR), in that notation, as a time.

    It is a TIMESTAMP in UTC, or one with its zone.
    """
    for name, unit in _EPOCHS:
        if notation_name == name:
            # Whole numbers stay whole: a double has no room for nanoseconds since 1970.
            whole = f"try_cast({text} AS BIGINT)"
            micros = (
                f"{whole} * {10**6 // unit}" if unit <= 10**6 else f"{whole} // {unit // 10**6}"
            )
            fraction = f"CAST(try_cast({text} AS DECIMAL(38, 9)) * {10**6} / {unit} AS BIGINT)"
            # A cast to a whole number would round the fraction away.
            broken = f"regexp_matches({text}, '[.eE]')"
            return f"try(make_timestamp(CASE WHEN {broken} THEN {fraction} ELSE {micros} END))"
    if notation_name == "iso":
        # Not AS TIMESTAMP, which passes over an offset from UTC; the connection's zone is UTC.
        # What stands in for a time that is missing may be Kafka's own, in milliseconds.
        stamp = (
            f"CASE WHEN regexp_full_match({text}, '[0-9]{{13}}') THEN CAST({text} AS BIGINT) END"
        )
        millis = f"CAST(make_timestamp({stamp} * 1000) AS TIMESTAMPTZ)"
        return f"coalesce(try_cast({text} AS TIMESTAMPTZ), {millis})"
    return f"try_strptime({text}, '{notation_name}')"


def within_range(moment: str) -> str:
    """SQL of a time as TIMESTAMPTZ; NULL beyond the years that Python's times have, and for infinity.

    A day at either end stays out, so that every zone can show a time.
    """
    there = f"try_cast({moment} AS TIMESTAMPTZ)"
    return (
        f"CASE WHEN {there} BETWEEN TIMESTAMPTZ '0001-01-02 00:00:00+00'"
        f" AND TIMESTAMPTZ '9999-12-30 23:59:59.999999+00' THEN {there} END"
    )


def meta_with_unreadable(meta: str, text: str, moment: str) -> str:
    """SQL of an event's meta, with the text of a time that can't be read: nothing of a source is lost."""
    there = f"try(CAST({text} AS VARCHAR))"  # a column of times is no text
    said = f"to_json({there})"
    name = f'"{UNREADABLE}":'
    whole = f"""CASE WHEN {meta} IS NULL OR {meta} = '{{}}' THEN '{{{name}' || {said} || '}}'
      WHEN starts_with({meta}, '{{') AND ends_with({meta}, '}}')
        THEN left({meta}, -1) || ',{name}' || {said} || '}}'
      ELSE '{{"meta":' || {meta} || ',{name}' || {said} || '}}' END"""
    unread = f"{moment} IS NULL AND nullif(trim({there}), '') IS NOT NULL"
    return f"CASE WHEN {unread} THEN {whole} ELSE {meta} END"


def _is_iso_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return not text.isdigit()


def _matches_pattern(text: str, pattern: str) -> bool:
    try:
        datetime.strptime(text, pattern)  # noqa: DTZ007 - only whether it parses is asked
    except ValueError:
        return False
    return True
