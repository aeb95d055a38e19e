"""`refold check`: the projection's invariants, or ad-hoc ones, over the whole history."""

import click

from replay import invariants
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
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def check(
    ws: str,
    projection: str,
    asked: tuple[str, ...],
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Every moment at which an invariant became broken, also those that healed; then exit code 1."""
    workspace = options.open_workspace(ws, wait)
    history = options.folded_history(workspace, projection, timeline, python)
    wanted = {text: text for text in asked} or None
    names = wanted or history.folded.invariants
    if not names:
        narration.say(
            f"{history.folded.name} declares no INVARIANTS; give one with --invariant CONDITION."
        )
        return 0
    rows = output.Counted(
        {
            "invariant": found.invariant,
            "offset": found.offset,
            "key": found.key,
            "until": found.until,
            "error": found.error,
        }
        for found in invariants.broken(history, wanted)
    )
    if as_json:
        output.lines(rows)
    else:
        columns = ("invariant", "offset", "key", "until", "error")
        output.table(columns, ([r[c] for c in columns] for r in rows), right=("offset", "until"))
    if not rows.count:
        held = "The invariant holds" if len(names) == 1 else f"All {len(names)} invariants hold"
        narration.say(f"{held} in every state up to offset {history.folded.folded - 1:,}.")
    return 1 if rows.count else 0
