"""`refold sweep`: one fork per value of a parameter, ranked by an aggregate."""

from collections.abc import Sequence

import click

from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from replay.forks.sweep import fork_sweep, variants
from replay.forks.sweep.fork_sweep import SweepResult
from replay.forks.sweep.variants import SweepVariant
from replay.worker_host.sigint import catch_interrupt
from storage.plural import format_count
from storage.timelines import fork_store
from tui.cli.support import options, output, progress_display, projection_resolver, workspace_opener


@click.command(
    epilog=options.example(
        "refold sweep orders.jsonl -p orders.py --set 2376 amount \\",
        "--range 10 30 10 --value 'sum(state.refunded)'",
    )
)
@options.workspace_argument
@options.projection_option
@click.option(
    "--drop-each", metavar="SQL", help="One fork per event that matches, without that event."
)
@click.option(
    "--set",
    "path",
    nargs=2,
    metavar="POSITION PATH",
    help="Vary this value: --set 1204 amount.",
)
@click.option(
    "--set-where", nargs=2, metavar="SQL PATH", help="Vary a value of all events that match."
)
@click.option("--to", "listed", metavar="VALUE", multiple=True, help="A value to try; repeatable.")
@click.option(
    "--range",
    "spread",
    nargs=3,
    type=float,
    metavar="FIRST LAST STEP",
    help="Try the numbers from FIRST to LAST.",
)
@click.option(
    "--value",
    "values",
    metavar="SQL",
    multiple=True,
    required=True,
    help="Compute this for each fork: sum(state.total), count(*). The first ranks.",
)
@click.option("--ascending", is_flag=True, help="Rank the lowest first.")
@click.option("--name", help="Name of the forks; default: sweep, or sweep2 …")
@click.option(
    "--keep", type=click.IntRange(0), default=0, metavar="N", help="Keep the first N forks."
)
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
    """Try many variants of an event and rank them.

    refold folds one fork for each value of a parameter, or for each dropped event, and ranks them
    by --value. It discards the forks, except the first N of --keep, which you can open and compare.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    wanted = projection_resolver.resolve_runnable_projection(projection, python, workspace)
    if sum(one is not None for one in (drop_each, path, set_where)) != 1:
        raise click.UsageError(
            "Give exactly one of --drop-each SQL, --set POSITION PATH and --set-where SQL PATH."
        )
    base = projection_resolver.fold_missing(workspace, wanted)
    name = name or variants.choose_free_name(fork.name for fork in fork_store.list_forks(workspace))
    if drop_each is not None:
        places = EditBuilder(workspace, name).find_matching_positions(drop_each)
        varied = variants.build_drop_variants(workspace, name, places)
    else:
        where = path or set_where or ("", "")
        if path is not None:
            places = [workspace_opener.parse_position(workspace, where[0])]
        else:
            places = EditBuilder(workspace, name).find_matching_positions(where[0])
        parameter_values = [
            *listed,
            *(variants.list_numbers(*spread) if spread is not None else ()),
        ]
        varied = variants.build_value_variants(workspace, name, places, where[1], parameter_values)
    with progress_display.sweep_bar(len(varied)) as progress, catch_interrupt() as cancelled:
        swept = fork_sweep.sweep_variants(
            workspace, wanted, base, varied, values, on_progress=progress, is_cancelled=cancelled
        )
    _print_results(swept, values, limit, ascending=ascending, as_json=as_json)
    _keep_forks([one.variant for one in swept.rank(ascending=ascending)[:keep]])


def _print_results(
    swept: SweepResult, values: Sequence[str], limit: int | None, *, ascending: bool, as_json: bool
) -> None:
    ranked = swept.rank(ascending=ascending)[:limit]
    columns = ("timeline", "what", *values, "documents", "trouble")
    rows = [
        (
            one.variant.forked_workspace.timeline,
            one.variant.label,
            *one.values,
            one.differing_documents,
            one.error,
        )
        for one in ranked
    ]
    if as_json:
        output.print_json_lines(dict(zip(columns, row, strict=True)) for row in rows)
        return
    output.print_table(columns, rows, right=("documents",))
    base = ", ".join(
        f"{text} = {value}" for text, value in zip(values, swept.base_values, strict=True)
    )
    progress_display.print_message(
        f"{format_count(len(swept.outcomes), 'fork')}; without any edit: {base}."
    )


def _keep_forks(chosen: Sequence[SweepVariant]) -> None:
    for one in chosen:
        edit_builder.save_fork(one.forked_workspace)
        progress_display.print_message(f"Kept {one.forked_workspace.timeline}: {one.label}.")
