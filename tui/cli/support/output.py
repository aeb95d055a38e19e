"""Data on standard output: JSON as it is, tables for people.

JSON keeps the digits of every number, because states and events pass through as text.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from replay.worker.protocol.encoding import encode
from storage.workspace.workspace import Workspace
from tui.text.sanitize import escaped, printable, shortened

_TIMELINE = "refold.timeline"
_PLACES = ("offset", "until")
"""Columns that say where an event is."""
_CELL = 80
"""Characters of a cell in a table; what is longer is cut with a mark."""


class Raw(str):
    """JSON text that goes out as it is."""

    __slots__ = ()


def raw(text: str | None) -> Raw | None:
    """JSON text, where there is any."""
    return None if text is None else Raw(text)


def nested(rows: Iterable[Mapping[str, Any]]) -> Raw:
    """Rows as a JSON list inside of a row; what is raw in them stays so."""
    written = (
        "{" + ", ".join(f"{json.dumps(name)}: {_json(value)}" for name, value in row.items()) + "}"
        for row in rows
    )
    return Raw("[" + ", ".join(written) + "]")


class Counted:
    """Rows that know afterwards how many there were."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._rows:
            self.count += 1
            yield row


def whole(state: str) -> None:
    """A state for a person: all of it, a member a line."""
    try:
        shown = msgspec.json.format(state.encode(), indent=2).decode()
    except (msgspec.MsgspecError, RecursionError):  # nested too deeply to be laid out
        shown = state
    sys.stdout.writelines(f"{printable(line)}\n" for line in shown.splitlines())


def document(value: Mapping[str, Any]) -> None:
    """One JSON document."""
    sys.stdout.write(_one_line(json.dumps(dict(value), ensure_ascii=False, default=str)))


def lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines."""
    label = _labels()
    for row in rows:
        members = (
            f"{json.dumps(name)}: {_json(label(name, value))}" for name, value in row.items()
        )
        sys.stdout.write(_one_line("{" + ", ".join(members) + "}"))


def _one_line(text: str) -> str:
    """JSON on one line, with the same meaning, in which nothing acts on a terminal."""
    if text.isascii() and text.isprintable():
        return text + "\n"
    return escaped(text).replace("\n", " ").replace("\t", " ") + "\n"


def told(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    as_json: bool,
    right: Sequence[str] = (),
) -> None:
    """Rows of these columns, as JSON lines or as a table."""
    if as_json:
        lines(dict(zip(columns, row, strict=True)) for row in rows)
    else:
        table(columns, rows, right=right)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()
) -> None:
    """A table for a person; streamed in blocks, so that a long one begins at once."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    block: list[list[Text]] = []

    def flush() -> None:
        shown = Table(box=None, pad_edge=False, header_style="bold", show_header=True)
        for name in columns:
            if name in right:
                shown.add_column(name, justify="right", no_wrap=True, min_width=len(name) + 3)
            else:
                shown.add_column(name, no_wrap=True)
        for cells in block:
            shown.add_row(*cells)
        console.print(shown)
        block.clear()

    label = _labels()
    for row in rows:
        shown = (_text(label(name, value)) for name, value in zip(columns, row, strict=False))
        block.append([Text(shortened(printable(text), _CELL)) for text in shown])
        if len(block) == 500:
            flush()
    flush()


def show_places_of(workspace: Workspace) -> None:
    """Write the places of a timeline as what they are called, from now on in this command."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_TIMELINE] = workspace


def _labels() -> Callable[[str, Any], Any]:
    """What writes a value of a column: on a fork an event keeps the name that it has on the log."""
    context = click.get_current_context(silent=True)
    workspace = None if context is None else context.meta.get(_TIMELINE)

    def label(name: str, value: Any) -> Any:
        if workspace is None or name not in _PLACES or type(value) is not int or value < 0:
            return value
        return workspace.label(value).shown

    return label


def moment(time: datetime | None) -> str | None:
    """A time as the contract writes it: ISO 8601 in UTC."""
    if time is None:
        return None
    text = time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return (text.rstrip("0") if not text.endswith(".000000") else text[:-7]) + "Z"


def _json(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, datetime):
        return json.dumps(moment(value))
    return encode(value).decode()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return moment(value) or ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
