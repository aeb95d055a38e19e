"""The notations of times in sources: detect them, and compile the SQL that reads them as UTC.

A time without a zone is UTC. A time that can't be read becomes NULL, never a guess.
"""

import re
from collections.abc import Sequence
from datetime import datetime

_EPOCHS = (("epoch_s", 1), ("epoch_ms", 10**3), ("epoch_us", 10**6), ("epoch_ns", 10**9))
_EARLIEST_SECONDS = 315_532_800
"""1980-01-01 in seconds since 1970; a smaller number is a duration or a counter, not a time."""
_LATEST_SECONDS = 4_102_444_800
"""2100-01-01 in seconds since 1970; a time must be earlier."""

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
"""Notations besides ISO 8601 and epochs, as strptime patterns; the first that fits is used."""

UNREADABLE = "unreadable_time"
"""The member of `meta` that keeps the text of an event's time if it can't be read."""

NOTATIONS = ("iso", *(name for name, _ in _EPOCHS), *PATTERNS)
"""All notations that `utc_time_sql` can read."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


def detect_notation(values: Sequence[object]) -> str | None:
    """Return the notation of times: `iso`, `epoch_s` … `epoch_ns`, a pattern, or None.

    At least 80 % of the values that are present must have the notation.
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
    """Return SQL that reads the SQL expression `text` (VARCHAR) as a time in this notation.

    The result is a TIMESTAMP in UTC, or a TIMESTAMPTZ.
    """
    for name, unit in _EPOCHS:
        if notation_name == name:
            # Compute with integers: a double can't hold nanoseconds since 1970.
            whole = f"try_cast({text} AS BIGINT)"
            micros = (
                f"{whole} * {10**6 // unit}" if unit <= 10**6 else f"{whole} // {unit // 10**6}"
            )
            fraction = f"CAST(try_cast({text} AS DECIMAL(38, 9)) * {10**6} / {unit} AS BIGINT)"
            # A cast to BIGINT would round the fraction.
            broken = f"regexp_matches({text}, '[.eE]')"
            return f"try(make_timestamp(CASE WHEN {broken} THEN {fraction} ELSE {micros} END))"
    if notation_name == "iso":
        # Not AS TIMESTAMP, which ignores an offset from UTC; the connection's zone is UTC.
        # If an event has no time, the value may be Kafka's own timestamp in milliseconds.
        stamp = (
            f"CASE WHEN regexp_full_match({text}, '[0-9]{{13}}') THEN CAST({text} AS BIGINT) END"
        )
        millis = f"CAST(make_timestamp({stamp} * 1000) AS TIMESTAMPTZ)"
        return f"coalesce(try_cast({text} AS TIMESTAMPTZ), {millis})"
    return f"try_strptime({text}, '{notation_name}')"


def within_range(moment: str) -> str:
    """Return SQL of a time as TIMESTAMPTZ; NULL for infinity and beyond the years 1 to 9999.

    Python's times have these years. The first and the last day are NULL too, because another time
    zone may move them out of the range.
    """
    cast_sql = f"try_cast({moment} AS TIMESTAMPTZ)"
    return (
        f"CASE WHEN {cast_sql} BETWEEN TIMESTAMPTZ '0001-01-02 00:00:00+00'"
        f" AND TIMESTAMPTZ '9999-12-30 23:59:59.999999+00' THEN {cast_sql} END"
    )


def meta_with_unreadable(meta: str, text: str, moment: str) -> str:
    """Return SQL of an event's `meta`, with the text of its time added if that can't be read.

    `text` is the SQL of the time as written, `moment` of the time as read. Nothing of a source is
    lost.
    """
    text_sql = f"try(CAST({text} AS VARCHAR))"  # the column may hold times, not text
    value = f"to_json({text_sql})"
    name = f'"{UNREADABLE}":'
    extended = f"""CASE WHEN {meta} IS NULL OR {meta} = '{{}}' THEN '{{{name}' || {value} || '}}'
      WHEN starts_with({meta}, '{{') AND ends_with({meta}, '}}')
        THEN left({meta}, -1) || ',{name}' || {value} || '}}'
      ELSE '{{"meta":' || {meta} || ',{name}' || {value} || '}}' END"""
    is_unreadable = f"{moment} IS NULL AND nullif(trim({text_sql}), '') IS NOT NULL"
    return f"CASE WHEN {is_unreadable} THEN {extended} ELSE {meta} END"


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
