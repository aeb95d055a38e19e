"""`refold fork` and `refold edit`: what-if timelines, and their edits."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from replay.document.diff import decode_state
from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import QueryError
from storage.plural import format_count
from storage.timelines.edits import Edit
from storage.timelines.fork_store import Fork
from storage.timelines.forked_workspace import ForkedWorkspace, as_fork
from storage.workspace.workspace import MAIN_TIMELINE, Workspace
from tui.cli.support import config_file, options, output, progress_display, workspace_opener

_Command = Callable[..., Any]

_EDIT_OPTIONS = (
    click.option("--drop", "drops", metavar="POSITION", multiple=True, help="Drop this event."),
    click.option("--drop-where", metavar="SQL", multiple=True, help="Drop the events that match."),
    click.option(
        "--drop-range",
        nargs=2,
        metavar="POSITION POSITION",
        multiple=True,
        help="Drop the events from one position to another.",
    ),
    click.option(
        "--replace",
        "replaces",
        metavar="POSITION=EVENT",
        multiple=True,
        help="Replace the event; EVENT is JSON or @file, and fields that it omits stay.",
    ),
    click.option(
        "--set",
        "sets",
        nargs=3,
        metavar="POSITION PATH VALUE",
        multiple=True,
        help="Set a value of an event: --set 1204 amount 0.",
    ),
    click.option(
        "--set-where",
        nargs=3,
        metavar="SQL PATH VALUE",
        multiple=True,
        help="Set a value of all events that match.",
    ),
    click.option(
        "--insert",
        "inserts",
        metavar="POSITION=EVENT",
        multiple=True,
        help="Insert this event after the position.",
    ),
    click.option("--append", "appends", metavar="EVENT", multiple=True, help="Append this event."),
    click.option(
        "--move",
        "moves",
        nargs=2,
        metavar="POSITION POSITION",
        multiple=True,
        help="Move the event at the first position to after the second.",
    ),
    click.option(
        "--reverse",
        "reversals",
        metavar="POSITION[=PATH,…]",
        multiple=True,
        help="Append an event that compensates this one: its numbers negated.",
    ),
    click.option(
        "--answers",
        metavar="FILE",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Override answers to calls: the [[overrides]] of a TOML file.",
    ),
)


_ONE_OF_THREE = "Give only one of --undo, --redo and edits."


def _add_edit_options(command: _Command) -> _Command:
    for option in reversed(_EDIT_OPTIONS):
        command = option(command)
    return command


@click.command(epilog=options.example("refold fork orders.jsonl no-refund --drop 2376"))
@options.workspace_argument
@click.argument("name", metavar="NAME")
@click.option(
    "--from",
    "parent",
    metavar="T",
    default=MAIN_TIMELINE,
    help="The timeline to fork; default: main.",
)
@click.option("--at", metavar="POSITION", help="The fork position; default: before the first edit.")
@_add_edit_options
@click.option(
    "--states-of",
    metavar="PROJ",
    help="Continue from the states of this projection, whichever code folds the fork.",
)
@click.option("--note", default="", help="What the fork is for.")
@options.wait_option
@options.json_option
def fork(
    ws: str,
    name: str,
    parent: str,
    at: str | None,
    states_of: str | None,
    note: str,
    wait: float,
    as_json: bool,
    **edit_options: Any,
) -> None:
    """Create a fork, a timeline with edited events.

    A fork starts from the log or from another fork; all positions are those of this parent. The
    log itself never changes, and refold folds only documents again that may differ. `refold
    compare WS main NAME -p PROJ` shows what would have happened.
    """

    def attempt(workspace: Workspace) -> ForkedWorkspace:
        found = _requested_edits(workspace, name, edit_options)
        place = None if at is None else workspace_opener.parse_position(workspace, at)
        if states_of is not None:
            found.append(Edit(EditKind.BASE, Label(0), value=states_of))
        return edit_builder.create_fork(workspace, name, found, fork_position=place, note=note)

    made = edit_builder.change(workspace_opener.open_workspace(ws, wait, parent), attempt)
    _print_fork(made, as_json=as_json)


@click.command(
    epilog=options.example(
        "refold fork orders.jsonl no-refund --drop 2376",
        "refold edit orders.jsonl no-refund --set 2365 amount 0",
    )
)
@options.workspace_argument
@click.argument("name", metavar="NAME")
@_add_edit_options
@click.option("--undo", is_flag=True, help="Undo the last step.")
@click.option("--redo", is_flag=True, help="Redo the step that was undone last.")
@options.wait_option
@options.json_option
def edit(
    ws: str, name: str, undo: bool, redo: bool, wait: float, as_json: bool, **edit_options: Any
) -> int:
    """Add edits to a fork; undo or redo them.

    All edits of one command are one step, which --undo takes back. Positions are those of the fork.
    """
    workspace = workspace_opener.open_workspace(ws, wait, name)
    if undo and redo:
        raise click.UsageError(_ONE_OF_THREE)

    def attempt(timeline: Workspace) -> ForkedWorkspace | None:
        fork = as_fork(timeline)
        if fork is None:
            raise QueryError(
                "The log itself never changes. Fork it with `refold fork`, and edit the fork."
            )
        found = _requested_edits(fork, name, edit_options)
        if undo or redo:
            if found:
                raise click.UsageError(_ONE_OF_THREE)
            return edit_builder.undo_last_step(fork) if undo else edit_builder.redo_last_step(fork)
        if not found:
            raise click.UsageError("Give at least one edit, such as --drop 1204.")
        return edit_builder.append_edits(fork, found)

    kept = edit_builder.change(workspace, attempt)
    if kept is None:
        progress_display.print_message(
            f"There is nothing to {'undo' if undo else 'redo'} on {name}."
        )
        return 1
    _print_fork(kept, as_json=as_json)
    return 0


def _requested_edits(workspace: Workspace, name: str, edit_options: dict[str, Any]) -> list[Edit]:
    """Return all edits that the options ask for."""
    made = EditBuilder(workspace, name)

    def place(text: str) -> int:
        return workspace_opener.parse_position(workspace, text)

    for text in edit_options["drops"]:
        made.drop(place(text))
    for first, last in edit_options["drop_range"]:
        made.drop_all(made.find_positions_between(place(first), place(last)))
    for condition in edit_options["drop_where"]:
        made.drop_all(made.find_matching_positions(condition))
    for text in edit_options["replaces"]:
        position, event = _split_position(text, "--replace")
        made.replace(place(position), event)
    for position, path, value in edit_options["sets"]:
        made.set(place(position), path, value)
    for condition, path, value in edit_options["set_where"]:
        made.set_all(made.find_matching_positions(condition), path, value)
    for text in edit_options["inserts"]:
        position, event = _split_position(text, "--insert")
        made.insert(place(position), event)
    for text in edit_options["appends"]:
        made.append(_read_event(text))
    for position, after in edit_options["moves"]:
        made.move(place(position), place(after))
    for text in edit_options["reversals"]:
        position, _, paths = text.partition("=")
        made.reverse(place(position), paths.split(",") if paths else ())
    for file in edit_options["answers"]:
        made.edits += [
            Edit(EditKind.ANSWERS, Label(0), value=override)
            for override in config_file.read_overrides(file)
        ]
    return made.edits


def _split_position(text: str, option: str) -> tuple[str, str]:
    """Return POSITION and EVENT, split at the first `={` or `=@`."""
    places = [place for mark in ("={", "=@") if (place := text.find(mark)) > 0]
    if not places:
        raise click.UsageError(
            f'{option} takes POSITION=EVENT, such as {option} 1204=\'{{"type": "Paid"}}\''
            " or 1204=@event.json."
        )
    return text[: min(places)], _read_event(text[min(places) + 1 :])


def _read_event(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"{text[1:]} can't be read: {error}.") from error


def _print_fork(seen: ForkedWorkspace, *, as_json: bool) -> None:
    row = timeline_row(seen.fork)
    if as_json:
        output.print_document(row)
    else:
        click.echo(
            f"{seen.timeline}: forked from {row['parent']} at {row['at']},"
            f" {format_count(row['edits'], 'edit')}"
        )


def timeline_row(fork: Fork) -> dict[str, Any]:
    """Return a fork as the JSON object of the contract."""
    return {
        "timeline": fork.name,
        "parent": fork.parent,
        "at": fork.at.json_value if fork.at.offset >= 0 else str(fork.at),
        "edits": len(fork.active_edits),
    }


def describe_edits(edits: Sequence[Edit]) -> list[str]:
    """Return a few words about each edit."""
    found = []
    for one in edits:
        event = "" if one.event is None else f"{one.event.type} of {one.event.stream or '–'}"
        if one.kind is EditKind.DROP:
            found.append(f"dropped {one.label}")
        elif one.kind is EditKind.REPLACE:
            found.append(f"{one.label} replaced by {event}")
        elif one.kind is EditKind.INSERT:
            found.append(f"inserted {one.label} {event}")
        elif one.kind is EditKind.MOVE:
            found.append(f"moved {one.moved} to {one.label}")
        elif one.kind is EditKind.ANSWERS:
            found.append(f"overridden answers of {_port_text(one.value)}")
        else:
            found.append(f"continues from the states of {one.value}")
    return found


def _port_text(value: str | None) -> str:
    override = decode_state(value)
    return str(override.get("port")) if isinstance(override, dict) else "?"
