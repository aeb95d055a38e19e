"""Changes of values inside events: set a value at a path, replace it, negate numbers."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

from replay.document import diff, paths
from replay.document.paths import DocumentPath
from storage.errors import QueryError, summarize_error
from storage.timelines import event_json
from storage.timelines.edits import EVENT_FIELDS, EditedEvent


def build_event_change(path: str, value: str) -> Callable[[EditedEvent], EditedEvent]:
    """Return a function that sets a value in an event: at a path into its data, or in a field.

    This function and the returned one raise `QueryError` for an invalid path or value.
    """
    written = value if _is_json(value) else diff.encode_value(value)
    first, *rest = parse_event_path(path)
    if first != "data":
        return partial(event_json.parse_event, f'{{"{first}": {written}}}')
    steps, new = tuple(rest), diff.decode_state(written)

    def change(event: EditedEvent) -> EditedEvent:
        try:
            data = diff.decode_state(event.data)
        except (ValueError, RecursionError) as error:
            raise QueryError(
                f"The event's data isn't valid JSON ({summarize_error(error)}), so no value can be set"
                " in it."
            ) from error
        return replace(event, data=diff.encode_value(replace_at_path(data, steps, new)))

    return change


def parse_event_path(path: str) -> DocumentPath:
    """Return the path within the whole event: a field's name, or `data` and a path into it."""
    steps = paths.parse_path(path)
    if steps and steps[0] == "data":
        return steps
    if len(steps) == 1 and steps[0] in EVENT_FIELDS:
        return steps
    return ("data", *steps)


def _is_json(text: str) -> bool:
    try:
        diff.decode_state(text)
    except (ValueError, RecursionError):
        return False
    return True


def replace_at_path(value: Any, path: DocumentPath, new_value: Any) -> Any:
    """Return a copy of a value with `new_value` at a path."""
    if not path:
        return new_value
    step, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {
            **value,
            str(step): replace_at_path(value.get(str(step), paths.ABSENT), rest, new_value),
        }
    if isinstance(value, list) and str(step).isdecimal() and int(step) < len(value):
        index = int(step)
        return [
            *value[:index],
            replace_at_path(value[index], rest, new_value),
            *value[index + 1 :],
        ]
    if value is paths.ABSENT and not str(step).isdecimal():
        return {str(step): replace_at_path(paths.ABSENT, rest, new_value)}
    raise QueryError(
        f"No value can be set at {paths.format_path(path)}: there is no object or list element."
    )


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def negate_numbers(value: Any) -> Any:
    """Return a copy of a value with every number in it negated."""
    if isinstance(value, dict):
        return {name: negate_numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [negate_numbers(inner) for inner in value]
    return -value if is_number(value) else value
