"""`refold fork` and `refold edit`: what-if timelines, and their edits."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from replay.document.diff import decode
from replay.forks import edit_builder
from replay.forks.edit_builder import Editing
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import QueryError
from storage.plural import counted
from storage.timelines.edits import Edit
from storage.timelines.store import Timeline
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import MAIN, Workspace
from tui.cli.support import config_file, options, output, progress_display

_Command = Callable[..., Any]

_EDITS = (
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


def _edits(command: _Command) -> _Command:
    for option in reversed(_EDITS):
        command = option(command)
    return command


@click.command()
@options.workspace_argument
@click.argument("name", metavar="NAME")
@click.option("--from", "parent", metavar="T", default=MAIN, help="The timeline to fork; main.")
@click.option("--at", metavar="POSITION", help="Where it branches; else before its first edit.")
@_edits
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

    def attempt(workspace: Workspace) -> Seen:
        found = _wished(workspace, name, wishes)
        place = None if at is None else options.position(workspace, at)
        if states_of is not None:
            found.append(Edit(EditKind.BASE, Label(0), said=states_of))
        return edit_builder.fork(workspace, name, found, at=place, note=note)

    made = edit_builder.change(options.open_workspace(ws, wait, parent), attempt)
    _tell(made, as_json=as_json)


@click.command()
@options.workspace_argument
@click.argument("name", metavar="NAME")
@_edits
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

    def attempt(seen: Workspace) -> Seen | None:
        if not isinstance(seen, Seen):
            raise QueryError("The log itself is never changed; fork it, and edit the fork.")
        found = _wished(seen, name, wishes)
        if undo or redo:
            if found:
                raise click.UsageError(_ONE_OF_THREE)
            return edit_builder.undone(seen) if undo else edit_builder.redone(seen)
        if not found:
            raise click.UsageError("Say what is to be edited, such as --drop 1204.")
        return edit_builder.edited(seen, found)

    kept = edit_builder.change(workspace, attempt)
    if kept is None:
        progress_display.say(f"There is nothing on {name} to be {'undone' if undo else 'redone'}.")
        return 1
    _tell(kept, as_json=as_json)
    return 0


def _wished(workspace: Workspace, name: str, wishes: dict[str, Any]) -> list[Edit]:
    """All edits that the options ask for."""
    made = Editing(workspace, name)

    def place(text: str) -> int:
        return options.position(workspace, text)

    for text in wishes["drops"]:
        made.drop(place(text))
    for first, last in wishes["drop_range"]:
        made.drop_all(made.between(place(first), place(last)))
    for condition in wishes["drop_where"]:
        made.drop_all(made.matching(condition))
    for text in wishes["replaces"]:
        position, event = _split(text, "--replace")
        made.replace(place(position), event)
    for position, path, value in wishes["sets"]:
        made.set(place(position), path, value)
    for condition, path, value in wishes["set_where"]:
        made.set_all(made.matching(condition), path, value)
    for text in wishes["inserts"]:
        position, event = _split(text, "--insert")
        made.insert(place(position), event)
    for text in wishes["appends"]:
        made.append(_event(text))
    for position, after in wishes["moves"]:
        made.move(place(position), place(after))
    for text in wishes["reversals"]:
        position, _, paths = text.partition("=")
        made.reverse(place(position), paths.split(",") if paths else ())
    for file in wishes["answers"]:
        made.edits += [
            Edit(EditKind.ANSWERS, Label(0), said=said) for said in config_file.overrides_in(file)
        ]
    return made.edits


def _split(text: str, option: str) -> tuple[str, str]:
    """POSITION and EVENT, at the first `={` or `=@`."""
    places = [place for mark in ("={", "=@") if (place := text.find(mark)) > 0]
    if not places:
        raise click.UsageError(
            f'{option} takes POSITION=EVENT, such as {option} 1204=\'{{"type": "Paid"}}\''
            " or 1204=@event.json."
        )
    return text[: min(places)], _event(text[min(places) + 1 :])


def _event(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"{text[1:]} can't be read: {error}.") from error


def _tell(seen: Seen, *, as_json: bool) -> None:
    told = row(seen.fork)
    if as_json:
        output.document(told)
    else:
        click.echo(
            f"{seen.timeline}: forked from {told['parent']} at {told['at']},"
            f" {counted(told['edits'], 'edit')}"
        )


def row(fork: Timeline) -> dict[str, Any]:
    """A fork as the contract tells it."""
    return {
        "timeline": fork.name,
        "parent": fork.parent,
        "at": fork.at.shown if fork.at.offset >= 0 else str(fork.at),
        "edits": len(fork.active),
    }


def described(edits: Sequence[Edit]) -> list[str]:
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
            found.append(f"answers otherwise: {_port(one.said)}")
        else:
            found.append(f"goes on from the states of {one.said}")
    return found


def _port(said: str | None) -> str:
    override = decode(said)
    return str(override.get("port")) if isinstance(override, dict) else "?"
