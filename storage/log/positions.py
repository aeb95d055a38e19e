"""Resolves the notations of a position (`POSITION_FORMS`) to an offset.

A position is after the event that it names; `START` is before the first event. A time without a zone
is local time. A time means the last offset up to which every event has that time or an earlier one.
"""

import re
from datetime import UTC, datetime, timedelta

from storage.coordinates import event_labels
from storage.coordinates.event_labels import Label
from storage.errors import PositionError
from storage.log.event_log import EventLog
from storage.workspace.workspace import MAIN_TIMELINE, Workspace

START = -1
"""The position before the first event."""

POSITION_FORMS = "1200, 900+1, -1, 50%, start, end, 2026-01-03T12:00, order-17@6 or id:…"

_OFFSET = re.compile(r"\d[\d,_]{0,39}")
_PERCENT = re.compile(r"(\d{1,40}(?:\.\d+)?)\s*%")
_REVISION = re.compile(r"(.+)@(\d{1,18})")
_TIME = re.compile(r"\d{4}-\d{2}(-\d{2})?.*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def resolve_position(workspace: Workspace, text: str) -> int:
    """Return the position that a text names, as an offset on the workspace's timeline, or `START`.

    Raises `PositionError` if the text is not a position, or if the log doesn't have it.
    """
    text = text.strip()
    extent = EventLog(workspace).read_extent()
    last = extent.event_count - 1
    if text == "start":
        return START
    if text == "end":
        return last
    if _OFFSET.fullmatch(text):
        return _resolve_log_offset(workspace, int(re.sub(r"[,_]", "", text)), last)
    if re.fullmatch(r"-\d{1,40}", text):
        return _check_offset(last + 1 + int(text), last, text)
    if percent := _PERCENT.fullmatch(text):
        share = float(percent[1])
        if share > 100:
            raise PositionError(f"{text} is beyond the end of the log; 100% is the end.")
        return round(extent.event_count * share / 100) - 1
    inserted = event_labels.parse_inserted_label(text)
    if inserted is not None:
        return workspace.position_of(inserted)
    if text.startswith("id:"):
        return _resolve_id(workspace, text[3:])
    if revision := _REVISION.fullmatch(text):
        return _resolve_revision(workspace, revision[1], int(revision[2]))
    if _TIME.fullmatch(text):
        return _resolve_time(workspace, text, last)
    raise PositionError(f"{text!r} is not a position; write one as {POSITION_FORMS}.")


def _resolve_log_offset(workspace: Workspace, offset: int, last: int) -> int:
    """Return the position of an event of the log on the workspace's timeline."""
    if workspace.timeline == MAIN_TIMELINE:
        return _check_offset(offset, last)
    return workspace.position_of(Label(offset))


def _check_offset(offset: int, last: int, text: str | None = None) -> int:
    if last < 0:
        raise PositionError("The log is empty; its only position is start.")
    if not 0 <= offset <= last:
        raise PositionError(
            f"There is no event at {text or f'{offset:,}'}; the offsets go from 0 to {last:,}."
        )
    return offset


def _resolve_time(workspace: Workspace, text: str, last: int) -> int:
    try:
        time = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PositionError(
            f"{text!r} is not a time; write one as 2026-01-03, 2026-01-03T12:00"
            " or 2026-01-03T12:00:00Z."
        ) from error
    with workspace.reading() as connection:
        row = connection.execute(
            'SELECT min("offset"), (SELECT count(time) FROM events) FROM events'
            " WHERE time > make_timestamptz(?)",
            [(time - _EPOCH) // timedelta(microseconds=1)],
        ).fetchone()
    later, with_time = row or (None, 0)
    if not with_time:
        raise PositionError("This log has no times; give an offset instead.")
    return last if later is None else int(later) - 1


def _resolve_revision(workspace: Workspace, stream: str, revision: int) -> int:
    with workspace.reading() as connection:
        row = connection.execute(
            'SELECT min("offset") FILTER (WHERE revision = $2), min(revision), max(revision)'
            " FROM events WHERE stream = $1",
            [stream, revision],
        ).fetchone()
    found, first, last = row or (None, None, None)
    if found is not None:
        return int(found)
    if first is None:
        raise PositionError(f"There is no stream {stream!r}.")
    raise PositionError(
        f"The stream {stream} has no event with revision {revision}; its revisions go from {first} to {last}."
    )


def _resolve_id(workspace: Workspace, event_id: str) -> int:
    with workspace.reading() as connection:
        row = connection.execute(
            'SELECT min("offset") FROM events WHERE id = ?', [event_id]
        ).fetchone()
    if row is None or row[0] is None:
        raise PositionError(f"There is no event with the id {event_id!r}.")
    return int(row[0])
