"""`refold sweep`: many forks at once, as a table of what each comes to."""

from collections.abc import Sequence

import click

from replay.forks import edit_builder
from replay.forks.edit_builder import Editing
from replay.forks.sweep import fork_sweep, variants
from replay.forks.sweep.fork_sweep import Swept
from replay.forks.sweep.variants import Variant
from storage.plural import counted
from storage.timelines import store
from tui.cli.support import options, output, progress_display
from tui.cli.support.sigint import stoppable


@click.command()
@options.workspace_argument
@options.projection_option
@click.option("--drop-each", metavar="SQL", help="A fork without each event that matches.")
@click.option(
    "--set",
    "path",
    nargs=2,
    metavar="POSITION PATH",
    help="The value that is varied: --set 1204 amount.",
)
@click.option(
    "--set-where", nargs=2, metavar="SQL PATH", help="The same, in all events that match."
)
@click.option("--to", "listed", metavar="VALUE", multiple=True, help="A value; give it repeatedly.")
@click.option(
    "--range",
    "spread",
    nargs=3,
    type=float,
    metavar="FIRST LAST STEP",
    help="Numbers from one to another.",
)
@click.option(
    "--value",
    "values",
    metavar="SQL",
    multiple=True,
    required=True,
    help="What to ask of each: sum(state.total), count(*). Ranked by the first.",
)
@click.option("--ascending", is_flag=True, help="The lowest first.")
@click.option("--name", help="What the forks are called; else sweep, or sweep2 …")
@click.option("--keep", type=click.IntRange(0), default=0, metavar="N", help="Keep the first N.")
@options.limit_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def sweep(
    ws: str,
    projection: str,
    drop_each: str | None,
    path: tuple[str, str] | None,
    set_where: tuple[str, str] | None,
    listed: tuple[str, ...],
    spread: tuple[float, float, float] | None,
    values: tuple[str, ...],
    ascending: bool,
    name: str | None,
    keep: int,
    limit: int | None,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """One fork for each value of a parameter, or for each dropped event, and what each comes to.

    Nothing of it is kept, but the first forks of --keep; those can be opened and compared.
    """
    workspace = options.open_workspace(ws, wait, timeline)
    wanted = options.runnable(projection, python, workspace)
    if sum(one is not None for one in (drop_each, path, set_where)) != 1:
        raise click.UsageError(
            "Say what is varied: --drop-each SQL, --set POSITION PATH, or --set-where."
        )
    base = options.fold(workspace, wanted)
    name = name or variants.free_name(fork.name for fork in store.known(workspace))
    if drop_each is not None:
        places = Editing(workspace, name).matching(drop_each)
        varied = variants.dropping(workspace, name, places)
    else:
        where = path or set_where or ("", "")
        if path is not None:
            places = [options.position(workspace, where[0])]
        else:
            places = Editing(workspace, name).matching(where[0])
        wished = [*listed, *(variants.numbers(*spread) if spread is not None else ())]
        varied = variants.setting(workspace, name, places, where[1], wished)
    with progress_display.sweeping(len(varied)) as progress, stoppable() as cancelled:
        swept = fork_sweep.sweep(
            workspace, wanted, base, varied, values, on_progress=progress, cancelled=cancelled
        )
    _tell(swept, values, limit, ascending=ascending, as_json=as_json)
    _keep([one.variant for one in swept.ranked(ascending=ascending)[:keep]])


def _tell(
    swept: Swept, values: Sequence[str], limit: int | None, *, ascending: bool, as_json: bool
) -> None:
    ranked = swept.ranked(ascending=ascending)[:limit]
    columns = ("timeline", "what", *values, "documents", "trouble")
    rows = [
        (
            one.variant.seen.timeline,
            one.variant.what,
            *one.values,
            one.differing,
            one.trouble,
        )
        for one in ranked
    ]
    if as_json:
        output.lines(dict(zip(columns, row, strict=True)) for row in rows)
        return
    output.table(columns, rows, right=("documents",))
    base = ", ".join(f"{text} = {value}" for text, value in zip(values, swept.base, strict=True))
    progress_display.say(f"{counted(len(swept.outcomes), 'fork')}; without any edit: {base}.")


def _keep(chosen: Sequence[Variant]) -> None:
    for one in chosen:
        edit_builder.keep(one.seen)
        progress_display.say(f"Kept {one.seen.timeline}: {one.what}.")
