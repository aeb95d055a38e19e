"""Paths to a value inside a document, and how they are written: `items.sku-7.qty`, `$."a b".c`.

A step is the name of a member or the place of an item. A name of digits finds an item of a list
too, so that `lines.0.qty` and `lines[0].qty` are the same place.
"""

import json
import re
from typing import Any

from storage.errors import QueryError
from storage.quoting import quoted

Step = str | int
Path = tuple[Step, ...]


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()
"""Stands for a value that isn't there, which null is."""

_NAME = re.compile(r"[\w\-]+")
_STEP = re.compile(
    r"""\.?(?P<quoted>"(?:[^"\\]|\\.)*")"""
    r"""|\[(?P<place>\d+)\]|\[(?P<inside>"(?:[^"\\]|\\.)*")\]|\.?(?P<name>[^."\[\]]+)"""
)


def read(text: str) -> Path:
    """The path that a person wrote; `$` is the whole document. Raises `QueryError`."""
    rest = text.strip().removeprefix("$")
    path: list[Step] = []
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        named = found is not None and (found["name"] or found["quoted"])
        if found is None or (named and path and rest[at] != "."):
            raise QueryError(
                f"The path {text!r} can't be read from {rest[at:]!r} on; write it as"
                ' items.sku-7.qty, lines[0].qty or $."a b".c.'
            )
        quoted = found["quoted"] or found["inside"]
        if found["place"] is not None:
            path.append(int(found["place"]))
        else:
            path.append(_unquoted(quoted, text) if quoted else found["name"])
        at = found.end()
    return tuple(path)


def _unquoted(quoted: str, text: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError as error:
        raise QueryError(f"The path {text!r} holds {quoted}, which is no JSON string.") from error


def write(path: Path) -> str:
    """`items.sku-7.qty`, `lines[0].qty`, `$."a b".c`; `$` for the whole document."""
    if not path:
        return "$"
    names = [step for step in path if isinstance(step, str)]
    plain = isinstance(path[0], str) and all(_NAME.fullmatch(name) for name in names)
    written = "" if plain else "$"
    for step in path:
        if isinstance(step, int):
            written += f"[{step}]"
        elif plain:
            written += f".{step}" if written else step
        else:
            written += "." + (
                step if _NAME.fullmatch(step) else json.dumps(step, ensure_ascii=False)
            )
    return written


def as_expression(root: str, path: Path) -> str:
    """The path as a condition names it: `state.items['sku-7'][0]`."""
    plain = re.compile(r"[A-Za-z_]\w*")
    return root + "".join(
        f".{step}" if plain.fullmatch(str(step)) else f"[{_literal(step)}]" for step in path
    )


def _literal(step: Step) -> str:
    return str(step) if isinstance(step, int) else quoted(step)


def value_at(value: Any, path: Path) -> Any:
    """The value at a path, or `ABSENT`."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(str(step), ABSENT)
        elif isinstance(value, list):
            place = int(step) if str(step).isdecimal() else len(value)
            value = value[place] if place < len(value) else ABSENT
        else:
            return ABSENT
    return value


def pointer(path: Path) -> str:
    """The path as a JSON pointer (RFC 6901), which DuckDB's JSON functions take."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(f"/{step}" for step in steps)


def from_pointer(text: str) -> tuple[str, ...]:
    """The names that a JSON pointer leads through."""
    steps = text.split("/")[1:]
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)
