"""`refold timelines`, `refold compare` and `refold join`."""

from decimal import Decimal
from functools import partial
from typing import Any

import click

from replay.compare import history_comparison
from replay.compare.history_comparison import HistoryComparison
from replay.document.diff import encode_value
from replay.forks import fork_merge
from replay.query import aggregate_totals
from storage.plural import format_count
from storage.timelines import fork_store, forked_workspace
from tui.cli.commands.fork import describe_edits, timeline_row
from tui.cli.support import options, output, progress_display, projection_resolver, workspace_opener
from tui.cli.support.output import raw_json


@click.command(
    epilog=options.example(
        "refold fork orders.jsonl no-refund --drop 2376", "refold timelines orders.jsonl --edits"
    )
)
@options.workspace_argument
@click.option("--edits", "with_edits", is_flag=True, help="Also list the edits of each fork.")
@click.option("--rename", nargs=2, metavar="T NAME", help="Rename a fork.")
@click.option("--annotate", nargs=2, metavar="T NOTE", help="Change the note of a fork.")
@click.option("--remove", metavar="T", help="Remove a fork and its histories.")
@options.wait_option
@options.json_option
def timelines(
    ws: str,
    with_edits: bool,
    rename: tuple[str, str] | None,
    annotate: tuple[str, str] | None,
    remove: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """List, rename or remove timelines.

    The list is a tree: the log itself (main), and its forks.
    """
    workspace = workspace_opener.open_workspace(ws, wait)
    if rename:
        fork_store.rename_fork(workspace, *rename)
    if annotate:
        fork_store.set_note(workspace, *annotate)
    if remove:
        fork_store.remove_fork(workspace, remove)
    forks = {one.name: one for one in fork_store.list_forks(workspace)}
    if as_json:
        output.print_json_lines(
            [{"timeline": "main", "parent": None, "at": None, "edits": 0, "note": ""}]
            + [
                {**timeline_row(one), "note": one.note}
                | ({"described": describe_edits(one.active_edits)} if with_edits else {})
                for one in forks.values()
            ]
        )
        return
    depths = {"main": 0}
    rows: list[list[Any]] = [["main", "", 0, ""]]
    for name, one in forks.items():
        depths[name] = depths[one.parent] + 1
        rows.append(["  " * depths[name] + name, str(one.at), len(one.active_edits), one.note])
        if with_edits:
            rows += [
                ["  " * depths[name] + "  · " + edit, "", "", ""]
                for edit in describe_edits(one.active_edits)
            ]
    output.print_table(("timeline", "at", "edits", "note"), rows, right=("edits",))


@click.command(
    epilog=options.example(
        "refold fork orders.jsonl no-refund --drop 2376",
        "refold compare orders.jsonl main no-refund -p orders.py --diff",
    )
)
@options.workspace_argument
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "-p",
    "--projection",
    "projections",
    metavar="PROJ",
    multiple=True,
    required=True,
    help="The projection; give it twice to fold A and B by different ones.",
)
@click.option("--at", metavar="POSITION", help="The position on both; default: the end.")
@click.option(
    "--value",
    "values",
    metavar="SQL",
    multiple=True,
    help="Also compare an aggregate: sum(state.total).",
)
@click.option("--diff", "with_diff", is_flag=True, help="Show which paths of each document differ.")
@click.option("--exit-code", is_flag=True, help="Exit with code 1 if anything differs.")
@options.limit_option
@options.python_option
@options.wait_option
@options.json_option
def compare(
    ws: str,
    a: str,
    b: str,
    projections: tuple[str, ...],
    at: str | None,
    values: tuple[str, ...],
    with_diff: bool,
    exit_code: bool,
    limit: int | None,
    python: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Compare the documents of two timelines or projections.

    Lists the documents that differ, and the event from which on. --value adds aggregates of both,
    and B minus A. `refold calls --compare` compares the calls of two timelines.
    """
    if len(projections) > 2:
        raise click.UsageError("refold compares at most two projections; give -p once or twice.")
    workspace = workspace_opener.open_workspace(ws, wait)
    first, second = (
        projection_resolver.fold_history(
            forked_workspace.open_timeline(workspace, timeline), projection, python
        )
        for timeline, projection in zip((a, b), (projections * 2)[:2], strict=True)
    )
    place = None
    if at is not None:
        place = (
            workspace_opener.parse_position(first.workspace, at),
            workspace_opener.parse_position(second.workspace, at),
        )
    with progress_display.busy_bar(f"comparing {a} and {b}"):
        found = history_comparison.compare_histories(first, second, place)
        numbers = [
            aggregate_totals.compute_totals(side, values, end)
            for side, end in zip((first, second), found.positions, strict=True)
        ]
    if as_json:
        _print_json(found, values, numbers, limit, with_diff=with_diff)
    else:
        _print_table(found, (a, b), values, numbers, limit, with_diff=with_diff)
    return 1 if exit_code and found.differing_documents else 0


def _print_json(
    found: HistoryComparison,
    values: tuple[str, ...],
    numbers: list[list[float | None]],
    limit: int | None,
    *,
    with_diff: bool,
) -> None:
    for one in found.differing_documents[:limit]:
        state_a, state_b = found.states(one.key)
        row: dict[str, Any] = {"key": one.key, "diverged_at": one.label.json_value}
        row |= {"a": raw_json(state_a), "b": raw_json(state_b)}
        if with_diff:
            row["differences"] = [
                {
                    "path": d.path_text,
                    "a": raw_json(encode_value(d.before)),
                    "b": raw_json(encode_value(d.after)),
                }
                for d in found.differences(one.key)
            ]
            row["differences"] = output.nested_rows(row["differences"])
        output.print_json_lines([row])
    for text, of_a, of_b in zip(values, *numbers, strict=True):
        output.print_json_lines(
            [{"value": text, "a": of_a, "b": of_b, "difference": _subtract(of_b, of_a)}]
        )


def _print_table(
    found: HistoryComparison,
    names: tuple[str, str],
    values: tuple[str, ...],
    numbers: list[list[float | None]],
    limit: int | None,
    *,
    with_diff: bool,
) -> None:
    shown = found.differing_documents[:limit]
    if with_diff:
        rows = [
            (one.key, str(one.label), d.path_text, encode_value(d.before), encode_value(d.after))
            for one in shown
            for d in found.differences(one.key)
        ]
        output.print_table(("key", "diverged at", "path", *names), rows)
    elif shown:
        output.print_table(
            ("key", "diverged at", *names),
            ((one.key, str(one.label), *found.states(one.key)) for one in shown),
        )
    if values:
        rows_of_values = [
            (text, of_a, of_b, _subtract(of_b, of_a))
            for text, of_a, of_b in zip(values, *numbers, strict=True)
        ]
        output.print_table(("value", *names, "difference"), rows_of_values)
    where = "" if names[0] != names[1] else " of the two projections"
    differ = "differs" if len(found.differing_documents) == 1 else "differ"
    progress_display.print_message(
        f"{format_count(len(found.differing_documents), 'document')}{where} {differ}."
    )


def _subtract(one: float | None, other: float | None) -> float | None:
    """Return one - other, exact in decimal digits; None if either is missing."""
    if one is None or other is None:
        return None
    return float(Decimal(repr(one)) - Decimal(repr(other)))


@click.command(
    epilog=options.example(
        "refold fork orders.jsonl no-refund --drop 2376",
        "refold fork orders.jsonl no-item --drop 2170",
        "refold join orders.jsonl no-refund no-item both -p orders.py",
    )
)
@options.workspace_argument
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.argument("name", metavar="NAME")
@options.projection_option
@click.option(
    "--order",
    type=click.Choice(fork_merge.ORDERS),
    default="time",
    show_default=True,
    help="The order of events that both forks inserted at one position.",
)
@click.option(
    "--prefer",
    type=click.Choice(("a", "b")),
    default="a",
    show_default=True,
    help="The fork whose edit wins if both edited one event.",
)
@click.option(
    "--resolve",
    "resolutions",
    nargs=2,
    metavar="KEY CHOICE",
    multiple=True,
    help="Set a document that both changed: a, b, base, joined, merged, or JSON.",
)
@options.python_option
@options.wait_option
@options.json_option
def join(
    ws: str,
    a: str,
    b: str,
    name: str,
    projection: str,
    order: str,
    prefer: str,
    resolutions: tuple[tuple[str, str], ...],
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Merge two forks into a third.

    The third fork has the edits of both, which must have a common past. A document that both
    change is a conflict: it becomes what folding all edits gives, what the projection's
    merge(base, left, right) returns, or what --resolve says.
    """
    workspace = workspace_opener.open_workspace(ws, wait)
    one, other = (forked_workspace.open_timeline(workspace, timeline) for timeline in (a, b))
    wanted = projection_resolver.resolve_runnable_projection(projection, python, workspace)
    joined = fork_merge.merge_forks(
        one,
        other,
        name,
        wanted,
        partial(projection_resolver.fold_missing, wanted=wanted),
        order=order,
        prefer=prefer,
        resolutions=dict(resolutions),
    )
    conflicts = [
        {"event": c.label.json_value, "a": c.a.value, "b": c.b.value, "taken": c.preferred}
        for c in joined.event_conflicts
    ] + [
        {
            "key": c.key,
            **{n: raw_json(getattr(c, n)) for n in ("base", "a", "b", "joined", "merged")},
            "trouble": c.error,
            "resolved": c.resolved,
        }
        for c in joined.document_conflicts
    ]
    if as_json:
        output.print_json_lines([{"timeline": name, "conflicts": output.nested_rows(conflicts)}])
        return
    fork = joined.forked_workspace.fork
    click.echo(f"{name}: {format_count(len(fork.active_edits), 'edit')}, forked from {fork.parent}")
    if joined.event_conflicts:
        output.print_table(
            ("event", a, b, "taken"),
            ((str(c.label), c.a.value, c.b.value, c.preferred) for c in joined.event_conflicts),
        )
    if joined.document_conflicts:
        output.print_table(
            ("key", a, b, "joined", "resolved"),
            ((c.key, c.a, c.b, c.joined, c.resolved) for c in joined.document_conflicts),
        )
    progress_display.print_message(f"{format_count(len(conflicts), 'conflict')}.")
