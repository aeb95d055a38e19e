"""`refold check`: the projection's invariants, or ad-hoc ones, over the whole history."""

from itertools import islice

import click

from replay import invariants
from replay.nowhere import nowhere
from tui.cli import narration, options, output


@click.command()
@options.workspace_argument
@options.projection_option
@click.option(
    "--invariant",
    "asked",
    metavar="CONDITION",
    multiple=True,
    help="This one instead: what must hold of every state, or of an aggregate such as"
    " sum(state.balance) = 0 after every event.",
)
@options.limit_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def check(
    ws: str,
    projection: str,
    asked: tuple[str, ...],
    limit: int | None,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Every moment at which an invariant became broken, also those that healed; then exit code 1.

    One of the projection's that can't be asked is told after the others; then exit code 2.
    """
    workspace = options.open_workspace(ws, wait)
    history = options.folded_history(workspace, projection, timeline, python)
    wanted = {text: text for text in asked} or None
    names = wanted or history.folded.invariants
    if not names:
        narration.say(
            f"{history.folded.name} declares no INVARIANTS; give one with --invariant CONDITION."
        )
        return 0
    troubles: list[str] = []
    found = invariants.broken(history, wanted, on_trouble=None if asked else troubles.append)
    rows = output.Counted(
        {
            "invariant": b.invariant,
            "offset": b.offset,
            "key": b.key,
            "until": b.until,
            "error": b.error,
        }
        for b in islice(found, limit)
    )
    if as_json:
        output.lines(rows)
    else:
        columns = ("invariant", "offset", "key", "until", "error")
        output.table(columns, ([r[c] for c in columns] for r in rows), right=("offset", "until"))
    for trouble in troubles:
        narration.say(trouble)
    for text in asked:
        narration.hint(nowhere(history, text))
    if not rows.count and not troubles:
        held = "The invariant holds" if len(names) == 1 else f"All {len(names)} invariants hold"
        narration.say(f"{held} in every state up to offset {history.folded.folded - 1:,}.")
    return 2 if troubles else int(rows.count > 0)
