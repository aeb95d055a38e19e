"""Events as JSON objects that a person edits, validated before they are used.

The members are the fields of an event. A field that the JSON leaves out keeps the value of the event
that the caller passes as the base: for a replacement the old event, for a new event its defaults (an id
derived from its position, the time of the event before it).
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from storage.errors import QueryError, summarize_error
from storage.timelines.edits import EVENT_FIELDS, EditedEvent

_IGNORED_FIELDS = frozenset(("offset",))
"""Members that `refold events` prints in addition to the fields."""
_MAX_BYTES = 64 << 20


def parse_event(text: str, base: EditedEvent) -> EditedEvent:
    """Return the event that a JSON object describes; fields that it leaves out come from `base`.

    Raises `QueryError` if the text is not a valid event.
    """
    try:
        if len(text) > _MAX_BYTES:
            raise QueryError(f"The event is larger than {_MAX_BYTES >> 20} MB; make it smaller.")
        checked = json.loads(text, parse_constant=_refuse_constant)  # it also limits the nesting
        json.dumps(checked, ensure_ascii=False).encode()
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except UnicodeEncodeError as error:
        raise QueryError(
            "The event contains half of a surrogate pair, which is not valid Unicode; write the whole"
            " character."
        ) from error
    except (ValueError, RecursionError) as error:
        raise QueryError(
            f'The event is not a JSON object: {summarize_error(error)}; write one as {{"type": "Paid",'
            ' "data": {…}}.'
        ) from error
    unknown = set(members) - set(EVENT_FIELDS) - _IGNORED_FIELDS
    if unknown:
        raise QueryError(
            f"An event has no field {min(unknown)!r}; its fields are {', '.join(EVENT_FIELDS)}."
        )
    fields = {
        name: _parse_field(name, bytes(raw))
        for name, raw in members.items()
        if name not in _IGNORED_FIELDS
    }
    event = replace(base, **fields)
    if not event.type:
        raise QueryError('The event has no type; give it one, as in {"type": "Paid"}.')
    return event


def format_event(event: EditedEvent) -> str:
    """Return the event as JSON for an editor: a line for each field, `data` and `meta` indented."""
    lines = []
    for name in EVENT_FIELDS:
        value = getattr(event, name)
        if name in ("data", "meta"):
            text = "null" if value is None else _format_json(value)
        elif isinstance(value, datetime):
            text = json.dumps(value.astimezone(UTC).isoformat().replace("+00:00", "Z"))
        else:
            text = json.dumps(value, ensure_ascii=False)
        lines.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _format_json(text: str) -> str:
    try:
        formatted = msgspec.json.format(text, indent=2)
    except (ValueError, RecursionError):
        return text
    return formatted.replace("\n", "\n  ")


def _parse_field(name: str, raw: bytes) -> Any:
    if name in ("data", "meta"):
        return None if raw == b"null" else raw.decode()
    value = json.loads(raw)
    if value is None:
        return None
    if name == "time":
        return _parse_time(value)
    if name == "revision":
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
            raise QueryError(f"The event's revision must be a 64-bit integer, got {value!r}.")
        return value
    if name == "version":
        return str(value)
    if not isinstance(value, str):
        raise QueryError(f"The event's {name} must be a string, got {raw.decode()[:60]}.")
    return value


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _parse_time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(value)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise QueryError(
            f"The event's time {value!r} can't be read; write it as 2026-01-03T12:00:00Z."
        ) from error
