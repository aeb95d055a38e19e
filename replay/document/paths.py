"""Paths to a value inside a document, and their notation: `items.sku-7.qty`, `$."a b".c`.

A step is the name of a member or the index of an item. A name of digits also selects an item of a
list, so `lines.0.qty` and `lines[0].qty` lead to the same value.
"""

import json
import re
from typing import Any

from storage.errors import QueryError
from storage.quoting import quote_literal

PathStep = str | int
DocumentPath = tuple[PathStep, ...]


class _AbsentType:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _AbsentType()
"""Stands for a missing value, which null is not."""

_PLAIN_NAME = re.compile(r"[\w\-]+")
_STEP_PATTERN = re.compile(
    r"""\.?(?P<quoted>"(?:[^"\\]|\\.)*")"""
    r"""|\[(?P<place>\d+)\]|\[(?P<inside>"(?:[^"\\]|\\.)*")\]|\.?(?P<name>[^."\[\]]+)"""
)


def parse_path(text: str) -> DocumentPath:
    """Return the path that a person wrote; `$` is the whole document.

    Raises `QueryError` if the text is not a path.
    """
    rest = text.strip().removeprefix("$")
    path: list[PathStep] = []
    position = 0
    while position < len(rest):
        found = _STEP_PATTERN.match(rest, position)
        named = found is not None and (found["name"] or found["quoted"])
        if found is None or (named and path and rest[position] != "."):
            raise QueryError(
                f"Invalid path {text!r}: can't parse {rest[position:]!r}. Write paths like"
                ' items.sku-7.qty, lines[0].qty or $."a b".c.'
            )
        quoted = found["quoted"] or found["inside"]
        if found["place"] is not None:
            path.append(int(found["place"]))
        else:
            path.append(_unquote(quoted, text) if quoted else found["name"])
        position = found.end()
    return tuple(path)


def _unquote(quoted: str, text: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError as error:
        raise QueryError(
            f"Invalid path {text!r}: {quoted} is not a JSON string. Escape the name as in JSON."
        ) from error


def format_path(path: DocumentPath) -> str:
    """Return the notation of a path: `items.sku-7.qty`, `$."a b".c`; `$` for the whole document."""
    if not path:
        return "$"
    names = [step for step in path if isinstance(step, str)]
    is_plain = isinstance(path[0], str) and all(_PLAIN_NAME.fullmatch(name) for name in names)
    text = "" if is_plain else "$"
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif is_plain:
            text += f".{step}" if text else step
        else:
            text += "." + (
                step if _PLAIN_NAME.fullmatch(step) else json.dumps(step, ensure_ascii=False)
            )
    return text


def format_as_expression(root: str, path: DocumentPath) -> str:
    """Return the path in the notation of conditions: `state.items['sku-7'][0]`."""
    plain = re.compile(r"[A-Za-z_]\w*")
    return root + "".join(
        f".{step}" if plain.fullmatch(str(step)) else f"[{_step_literal(step)}]" for step in path
    )


def _step_literal(step: PathStep) -> str:
    return str(step) if isinstance(step, int) else quote_literal(step)


def get_value_at(value: Any, path: DocumentPath) -> Any:
    """Return the value at a path, or `ABSENT`."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(str(step), ABSENT)
        elif isinstance(value, list):
            index = int(step) if str(step).isdecimal() else len(value)
            value = value[index] if index < len(value) else ABSENT
        else:
            return ABSENT
    return value


def format_pointer(path: DocumentPath) -> str:
    """Return the path as a JSON pointer (RFC 6901), which DuckDB's JSON functions accept."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(f"/{step}" for step in steps)


def parse_pointer(text: str) -> tuple[str, ...]:
    """Return the unescaped names in a JSON pointer."""
    steps = text.split("/")[1:]
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)
