"""Events as a person writes them: a JSON object, checked before it is taken.

Its fields are those of an event. What is left out of a replacement stays as it was; what is left out
of a new event is made up: its id is derived from its place, its time is that of the event before it.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from storage.errors import QueryError, summarize_error
from storage.timelines.edits import EVENT_FIELDS, EditedEvent

_IGNORED_FIELDS = frozenset(("offset",))
"""What `refold events` writes beside them."""
_MAX_BYTES = 64 << 20


def parse_event(text: str, there: EditedEvent) -> EditedEvent:
    """The event that a person wrote, over what is there; raises `QueryError` with what is wrong."""
    try:
        if len(text) > _MAX_BYTES:
            raise QueryError(f"The event is larger than {_MAX_BYTES >> 20} MB.")
        checked = json.loads(text, parse_constant=_refuse_constant)  # it counts brackets too
        json.dumps(checked, ensure_ascii=False).encode()
        said = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except UnicodeEncodeError as error:
        raise QueryError("The event holds half of a surrogate pair, which no text can.") from error
    except (ValueError, RecursionError) as error:
        raise QueryError(
            f'The event is no JSON object: {summarize_error(error)}; write one as {{"type": "Paid",'
            ' "data": {…}}.'
        ) from error
    strange = set(said) - set(EVENT_FIELDS) - _IGNORED_FIELDS
    if strange:
        raise QueryError(
            f"An event has no field {min(strange)!r}; it has {', '.join(EVENT_FIELDS)}."
        )
    found = {
        name: _parse_field(name, bytes(raw))
        for name, raw in said.items()
        if name not in _IGNORED_FIELDS
    }
    event = replace(there, **found)
    if not event.type:
        raise QueryError('The event has no type; give it one, as in {"type": "Paid"}.')
    return event


def format_event(event: EditedEvent) -> str:
    """The event as JSON for an editor: a line a field, its data over several lines."""
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
            raise QueryError(f"The revision {value!r} is no whole number.")
        return value
    if name == "version":
        return str(value)
    if not isinstance(value, str):
        raise QueryError(f"The event's {name} is no text: {raw.decode()[:60]}.")
    return value


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _parse_time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(value)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise QueryError(
            f"The event's time {value!r} can't be read; write it as 2026-01-03T12:00:00Z."
        ) from error
