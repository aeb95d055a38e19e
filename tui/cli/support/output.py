"""Data on standard output: JSON as it is, tables for people.

JSON keeps all digits of every number, because states and events pass through as text.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.table import Table
from rich.text import Text

from replay.worker.protocol.encoding import encode_exactly
from storage.workspace.workspace import Workspace
from tui.cli.support.console import PipeConsole
from tui.text.sanitize import escape_json, sanitize_line, shorten

_TIMELINE = "refold.timeline"
_POSITION_COLUMNS = ("offset", "until")
"""Columns that hold the position of an event."""
_CELL = 80
"""Most characters of a table cell; longer text is cut and marked."""


class RawJson(str):
    """JSON text that is printed unchanged."""

    __slots__ = ()


def raw_json(text: str | None) -> RawJson | None:
    """Return text as JSON text; None stays None."""
    return None if text is None else RawJson(text)


def nested_rows(rows: Iterable[Mapping[str, Any]]) -> RawJson:
    """Return rows as a JSON list, to nest in another row; raw JSON in them stays raw."""
    written = (
        "{"
        + ", ".join(f"{json.dumps(name)}: {_json_text(value)}" for name, value in row.items())
        + "}"
        for row in rows
    )
    return RawJson("[" + ", ".join(written) + "]")


class CountedRows:
    """Rows that count themselves while they are read."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._rows:
            self.count += 1
            yield row


def print_state(state: str) -> None:
    """Print a whole state for people, one member per line."""
    try:
        shown = msgspec.json.format(state.encode(), indent=2).decode()
    except (msgspec.MsgspecError, RecursionError):  # nested too deeply for the formatter
        shown = state
    sys.stdout.writelines(f"{sanitize_line(line)}\n" for line in shown.splitlines())


def print_document(value: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    sys.stdout.write(_one_line(json.dumps(dict(value), ensure_ascii=False, default=str)))


def print_json_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as JSON lines."""
    label = _labels()
    for row in rows:
        members = (
            f"{json.dumps(name)}: {_json_text(label(name, value))}" for name, value in row.items()
        )
        sys.stdout.write(_one_line("{" + ", ".join(members) + "}"))


def _one_line(text: str) -> str:
    """Return the same JSON on one line, without characters that act on a terminal."""
    if text.isascii() and text.isprintable():
        return text + "\n"
    return escape_json(text).replace("\n", " ").replace("\t", " ") + "\n"


def print_rows(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    as_json: bool,
    right: Sequence[str] = (),
) -> None:
    """Print rows of these columns, as JSON lines or as a table."""
    if as_json:
        print_json_lines(dict(zip(columns, row, strict=True)) for row in rows)
    else:
        print_table(columns, rows, right=right)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()
) -> None:
    """Print a table for people, in blocks of 500 rows, so that a long one starts at once."""
    console = PipeConsole(highlight=False, width=None if sys.stdout.isatty() else 200)
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
        shown = (_cell_text(label(name, value)) for name, value in zip(columns, row, strict=False))
        block.append([Text(shorten(sanitize_line(text), _CELL)) for text in shown])
        if len(block) == 500:
            flush()
    flush()


def use_labels_of(workspace: Workspace) -> None:
    """Print positions as labels of this timeline, for the rest of this command."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_TIMELINE] = workspace


def _labels() -> Callable[[str, Any], Any]:
    """Return a function that replaces a position by its label.

    On a fork, events of the parent keep their offset as label, and inserted ones are `900+1`.
    """
    context = click.get_current_context(silent=True)
    workspace: Workspace | None = None if context is None else context.meta.get(_TIMELINE)

    def label(name: str, value: Any) -> Any:
        if (
            workspace is None
            or name not in _POSITION_COLUMNS
            or type(value) is not int
            or value < 0
        ):
            return value
        return workspace.label_at(value).json_value

    return label


def iso_time(time: datetime | None) -> str | None:
    """Return a time as the contract writes it: ISO 8601 in UTC."""
    if time is None:
        return None
    text = time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return (text.rstrip("0") if not text.endswith(".000000") else text[:-7]) + "Z"


def _json_text(value: Any) -> str:
    if isinstance(value, RawJson):
        return str(value)
    if isinstance(value, datetime):
        return json.dumps(iso_time(value))
    return encode_exactly(value).decode()


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return iso_time(value) or ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
