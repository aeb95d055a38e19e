"""Commands that ask the past: blame, find."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from replay import blame as blaming
from replay import moments, paths
from replay.blame import Touch
from replay.diff import Difference, encode
from replay.history import History
from storage.log import EventLog
from storage.positions import START
from tui.cli import narration, options, output
from tui.cli.output import Raw

_AT_ONCE = 256


@click.command()
@options.workspace_argument
@options.projection_option
@click.option("--key", "key", metavar="K", required=True, help="The document.")
@click.argument("path", metavar="PATH", default="$")
@options.at_option
@click.option("--all", "every", is_flag=True, help="Every change up to there, the last one first.")
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def blame(
    ws: str,
    projection: str,
    key: str,
    path: str,
    at: str | None,
    every: bool,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """The event that last changed a value: items.sku-7.qty, lines[0].qty, $."a b".c."""
    wanted = paths.read(path)
    workspace = options.open_workspace(ws, wait)
    history = options.folded_history(workspace, projection, timeline, python)
    until = options.position(workspace, at)
    found = blaming.touches(history, key, wanted, after=START, until=until, backwards=True)
    rows = output.Counted(_with_events(history, found if every else islice(found, 1)))
    if as_json:
        output.lines(rows)
    else:
        columns = ("offset", "time", "type", "id", "before", "after")
        output.table(columns, ([r[c] for c in columns] for r in rows), right=("offset",))
    if not rows.count:
        narration.say(f"Nothing had changed {paths.write(wanted)} of {key!r} by {at or 'the end'}.")
        return 1
    return 0


@click.command()
@options.workspace_argument
@options.projection_option
@click.argument("condition", metavar="CONDITION")
@click.option("--first", is_flag=True, help="The first moment only.")
@click.option("--ended", is_flag=True, help="When it stopped being true.")
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def find(
    ws: str,
    projection: str,
    condition: str,
    first: bool,
    ended: bool,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Every moment at which a condition on a document became true: "state.total < 0".

    CONDITION is SQL over state, key and offset; before its first state a document counts as false.
    """
    workspace = options.open_workspace(ws, wait)
    history = options.folded_history(workspace, projection, timeline, python)
    ask = moments.ended if ended else moments.began
    found = ask(history, condition, 1 if first else None)
    rows = output.Counted(
        {"offset": hit.offset, "key": hit.key, "state": output.raw(hit.state)} for hit in found.hits
    )
    if as_json:
        output.lines(rows)
    else:
        columns = ("offset", "key", "state")
        output.table(columns, ([r[c] for c in columns] for r in rows), right=("offset",))
    if found.others:
        narration.say(
            f"{found.others:,} states hold a value of another kind than {condition!r} compares it as;"
            " they count as false."
        )
    if not rows.count:
        turned = "stopped being true" if ended else "became true"
        narration.say(f"{condition!r} never {turned}.")


def _with_events(history: History, found: Iterator[Touch]) -> Iterator[dict[str, Any]]:
    log = EventLog(history.workspace)
    while touches := list(islice(found, _AT_ONCE)):
        events = {e.offset: e for e in log.rows_at([t.offset for t in touches])}
        for touch in touches:
            event = events.get(touch.offset)
            yield {
                "offset": touch.offset,
                "time": event.time if event else None,
                "type": event.type if event else None,
                "id": event.id if event else None,
                "before": Raw(encode(touch.before)),
                "after": Raw(encode(touch.after)),
                "kind": Difference((), touch.before, touch.after).kind.value,
            }
