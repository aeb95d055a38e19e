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
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace.workspace import MAIN_TIMELINE, Workspace
from tui.cli.support import config_file, options, output, progress_display

_Command = Callable[..., Any]

_EDIT_OPTIONS = (
    click.option("--drop", "drops", metavar="POSITION", multiple=True, help="Without this event."),
    click.option(
        "--drop-where", metavar="SQL", multiple=True, help="Without the events that match."
    ),
    click.option(
        "--drop-range",
        nargs=2,
        metavar="POSITION POSITION",
        multiple=True,
        help="Without the events from one to another.",
    ),
    click.option(
        "--replace",
        "replaces",
        metavar="POSITION=EVENT",
        multiple=True,
        help="With this event in its place; EVENT is JSON or @file, what it leaves out stays.",
    ),
    click.option(
        "--set",
        "sets",
        nargs=3,
        metavar="POSITION PATH VALUE",
        multiple=True,
        help="With another value in an event: --set 1204 amount 0.",
    ),
    click.option(
        "--set-where",
        nargs=3,
        metavar="SQL PATH VALUE",
        multiple=True,
        help="The same in all events that match.",
    ),
    click.option(
        "--insert",
        "inserts",
        metavar="POSITION=EVENT",
        multiple=True,
        help="With this event after the position.",
    ),
    click.option("--append", "appends", metavar="EVENT", multiple=True, help="With it at the end."),
    click.option(
        "--move",
        "moves",
        nargs=2,
        metavar="POSITION POSITION",
        multiple=True,
        help="With the first event after the second position.",
    ),
    click.option(
        "--reverse",
        "reversals",
        metavar="POSITION[=PATH,…]",
        multiple=True,
        help="With an event at the end that takes this one back: its numbers negated.",
    ),
    click.option(
        "--answers",
        metavar="FILE",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Calls answered otherwise: the [[overrides]] of a TOML file.",
    ),
)


_ONE_OF_THREE = "Undo, redo and edits are three things; ask for one of them."


def _add_edit_options(command: _Command) -> _Command:
    for option in reversed(_EDIT_OPTIONS):
        command = option(command)
    return command


@click.command()
@options.workspace_argument
@click.argument("name", metavar="NAME")
@click.option(
    "--from", "parent", metavar="T", default=MAIN_TIMELINE, help="The timeline to fork; main."
)
@click.option("--at", metavar="POSITION", help="Where it branches; else before its first edit.")
@_add_edit_options
@click.option(
    "--states-of",
    metavar="PROJ",
    help="Go on from the states of this projection, with whatever code the fork is folded by.",
)
@click.option("--note", default="", help="What it is for.")
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
    **wishes: Any,
) -> None:
    """Make a what-if timeline: a fork of the log, or of another fork, with edits.

    All positions are the parent's. The log itself is never changed, and only what may differ is
    folded again. `refold compare WS main NAME -p PROJ` says what would have happened.
    """

    def attempt(workspace: Workspace) -> ForkedWorkspace:
        found = _requested_edits(workspace, name, wishes)
        place = None if at is None else options.parse_position(workspace, at)
        if states_of is not None:
            found.append(Edit(EditKind.BASE, Label(0), value=states_of))
        return edit_builder.create_fork(workspace, name, found, fork_position=place, note=note)

    made = edit_builder.change(options.open_workspace(ws, wait, parent), attempt)
    _print_fork(made, as_json=as_json)


@click.command()
@options.workspace_argument
@click.argument("name", metavar="NAME")
@_add_edit_options
@click.option("--undo", is_flag=True, help="Take the last step back.")
@click.option("--redo", is_flag=True, help="Do again what was undone.")
@options.wait_option
@options.json_option
def edit(
    ws: str, name: str, undo: bool, redo: bool, wait: float, as_json: bool, **wishes: Any
) -> int:
    """Edit a fork further, in one step that can be undone. Positions are those of the fork."""
    workspace = options.open_workspace(ws, wait, name)
    if undo and redo:
        raise click.UsageError(_ONE_OF_THREE)

    def attempt(seen: Workspace) -> ForkedWorkspace | None:
        if not isinstance(seen, ForkedWorkspace):
            raise QueryError("The log itself is never changed; fork it, and edit the fork.")
        found = _requested_edits(seen, name, wishes)
        if undo or redo:
            if found:
                raise click.UsageError(_ONE_OF_THREE)
            return edit_builder.undo_last_step(seen) if undo else edit_builder.redo_last_step(seen)
        if not found:
            raise click.UsageError("Say what is to be edited, such as --drop 1204.")
        return edit_builder.append_edits(seen, found)

    kept = edit_builder.change(workspace, attempt)
    if kept is None:
        progress_display.print_message(
            f"There is nothing on {name} to be {'undone' if undo else 'redone'}."
        )
        return 1
    _print_fork(kept, as_json=as_json)
    return 0


def _requested_edits(workspace: Workspace, name: str, wishes: dict[str, Any]) -> list[Edit]:
    """All edits that the options ask for."""
    made = EditBuilder(workspace, name)

    def place(text: str) -> int:
        return options.parse_position(workspace, text)

    for text in wishes["drops"]:
        made.drop(place(text))
    for first, last in wishes["drop_range"]:
        made.drop_all(made.find_positions_between(place(first), place(last)))
    for condition in wishes["drop_where"]:
        made.drop_all(made.find_matching_positions(condition))
    for text in wishes["replaces"]:
        position, event = _split_position(text, "--replace")
        made.replace(place(position), event)
    for position, path, value in wishes["sets"]:
        made.set(place(position), path, value)
    for condition, path, value in wishes["set_where"]:
        made.set_all(made.find_matching_positions(condition), path, value)
    for text in wishes["inserts"]:
        position, event = _split_position(text, "--insert")
        made.insert(place(position), event)
    for text in wishes["appends"]:
        made.append(_read_event(text))
    for position, after in wishes["moves"]:
        made.move(place(position), place(after))
    for text in wishes["reversals"]:
        position, _, paths = text.partition("=")
        made.reverse(place(position), paths.split(",") if paths else ())
    for file in wishes["answers"]:
        made.edits += [
            Edit(EditKind.ANSWERS, Label(0), value=said)
            for said in config_file.read_overrides(file)
        ]
    return made.edits


def _split_position(text: str, option: str) -> tuple[str, str]:
    """POSITION and EVENT, at the first `={` or `=@`."""
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
    told = timeline_row(seen.fork)
    if as_json:
        output.print_document(told)
    else:
        click.echo(
            f"{seen.timeline}: forked from {told['parent']} at {told['at']},"
            f" {format_count(told['edits'], 'edit')}"
        )


def timeline_row(fork: Fork) -> dict[str, Any]:
    """A fork as the contract tells it."""
    return {
        "timeline": fork.name,
        "parent": fork.parent,
        "at": fork.at.json_value if fork.at.offset >= 0 else str(fork.at),
        "edits": len(fork.active_edits),
    }


def describe_edits(edits: Sequence[Edit]) -> list[str]:
    """Edits in a few words each."""
    found = []
    for one in edits:
        event = "" if one.event is None else f"{one.event.type} of {one.event.stream or '–'}"
        if one.kind is EditKind.DROP:
            found.append(f"without {one.label}")
        elif one.kind is EditKind.REPLACE:
            found.append(f"{one.label} is {event}")
        elif one.kind is EditKind.INSERT:
            found.append(f"{one.label} {event} inserted")
        elif one.kind is EditKind.MOVE:
            found.append(f"{one.moved} moved to {one.label}")
        elif one.kind is EditKind.ANSWERS:
            found.append(f"answers otherwise: {_port_text(one.value)}")
        else:
            found.append(f"goes on from the states of {one.value}")
    return found


def _port_text(said: str | None) -> str:
    override = decode_state(said)
    return str(override.get("port")) if isinstance(override, dict) else "?"
