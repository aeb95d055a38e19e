"""`refold check`: invariants over the whole history, and properties of the projection."""

from itertools import islice
from typing import Any

import click

from replay.document.diff import encode_value
from replay.history.fold_reports import InvariantViolation
from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference
from replay.query import condition_search, invariants
from replay.query.unknown_paths import describe_unknown_paths
from storage.workspace.workspace import Workspace
from tui.cli.support import options, output, progress_display, projection_resolver, workspace_opener


@click.command(epilog=options.example("refold check orders.jsonl -p orders_wrong.py"))
@options.workspace_argument
@options.projection_option
@click.option(
    "--invariant",
    "asked",
    metavar="CONDITION",
    multiple=True,
    help="Check this instead: a condition on every state, or on an aggregate after every event,"
    " such as sum(state.balance) = 0.",
)
@click.option(
    "--determinism",
    is_flag=True,
    help="Fold twice, with another hash seed, clock, time zone and random seed; show the first"
    " difference.",
)
@click.option(
    "--isolation",
    is_flag=True,
    help="Fold the keys apart from each other; show the first difference.",
)
@click.option(
    "--idempotence",
    is_flag=True,
    help="List events that would change the state again if they arrived twice.",
)
@click.option(
    "--reorder",
    is_flag=True,
    help="List neighbouring events of different streams that give another state when swapped.",
)
@options.from_option
@options.to_option
@options.limit_option
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def check(
    ws: str,
    projection: str,
    asked: tuple[str, ...],
    determinism: bool,
    isolation: bool,
    idempotence: bool,
    reorder: bool,
    start: str | None,
    end: str | None,
    limit: int | None,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Check invariants over the whole history.

    Lists every position at which an invariant became broken, even if it held again later. Exit
    code 1 means that an invariant is broken, 2 that refold can't evaluate one of the projection's
    invariants; it names that one after the others.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    chosen = {
        "determinism": determinism,
        "isolation": isolation,
        "idempotence": idempotence,
        "reorder": reorder,
    }
    properties = [name for name, wanted in chosen.items() if wanted]
    if properties:
        if asked:
            raise click.UsageError(
                "--invariant reads the history, and the properties fold again; give only one of the two"
            )
        reference = projection_resolver.resolve_runnable_projection(projection, python, workspace)
        return _check_properties(workspace, reference, properties, as_json=as_json)
    span = workspace_opener.parse_span(workspace, start, end)
    history = projection_resolver.fold_history(workspace, projection, python, span)
    wanted = {text: condition_search.parse_condition(history, text) for text in asked} or None
    names = wanted or history.fold_record.invariants
    if not names:
        progress_display.print_message(
            f"{history.fold_record.name} declares no INVARIANTS; give one with --invariant CONDITION."
        )
        return 0
    problems: list[str] = []
    found = invariants.find_violations(history, wanted, on_error=None if asked else problems.append)
    rows = output.CountedRows(
        {
            "invariant": b.invariant,
            "offset": b.offset,
            "key": b.key,
            "until": b.until,
            "error": b.error,
        }
        for b in islice((b for b in found if _is_within(b, span)), limit)
    )
    if as_json:
        output.print_json_lines(rows)
    else:
        columns = ("invariant", "offset", "key", "until", "error")
        output.print_table(
            columns, ([r[c] for c in columns] for r in rows), right=("offset", "until")
        )
    if history.fold_record.is_partial and rows.count:
        progress_display.print_message(
            f"Invariants that are broken at offset {history.fold_record.first_offset - 1:,}, where"
            " the range begins, may have been broken earlier."
        )
    for problem in problems:
        progress_display.print_message(problem)
    for parsed in (wanted or {}).values():
        progress_display.print_hint(describe_unknown_paths(history, parsed))
    if not rows.count and not problems:
        held = "The invariant holds" if len(names) == 1 else f"All {len(names)} invariants hold"
        progress_display.print_message(
            f"{held} in every state up to offset {history.fold_record.next_offset - 1:,}."
        )
    return 2 if problems else int(rows.count > 0)


def _is_within(found: InvariantViolation, span: OffsetSpan | None) -> bool:
    """Return whether an invariant was broken anywhere in a span."""
    return span is None or (
        found.offset <= span.last and (found.until is None or found.until > span.position_before)
    )


def _check_properties(
    workspace: Workspace, wanted: Reference, names: list[str], *, as_json: bool
) -> int:
    """Print where folding another way gives other states; return 1 if it does."""
    rows = [row for name in names for row in _property_violations(workspace, wanted, name)]
    if as_json:
        output.print_json_lines(rows)
    elif rows:
        columns = ("property", "offset", "key", "type", "count", "path", "one", "other", "read")
        shown = [c for c in columns if any(row.get(c) not in (None, []) for row in rows)]
        cells = ([_cell_text(row.get(c)) for c in shown] for row in rows)
        output.print_table(shown, cells, right=("offset", "count"))
    for name in names:
        if not any(row["property"] == name for row in rows):
            progress_display.print_message(_HOLDS_TEXT[name].format(wanted.name))
    return int(bool(rows))


_HOLDS_TEXT = {
    "determinism": "{} gives the same states with another hash seed, clock, time zone and random seed.",
    "isolation": "{} gives the same states when its keys are folded apart.",
    "idempotence": "{} gives the same states if any event arrives twice.",
    "reorder": "{} gives a document the same state if two neighbouring events of different streams"
    " are swapped.",
}


def _property_violations(
    workspace: Workspace, wanted: Reference, name: str
) -> list[dict[str, Any]]:
    from replay.checks import projection_properties  # noqa: PLC0415 - most checks only read the history

    with progress_display.check_bar(name, wanted.name) as progress:
        if name in ("idempotence", "reorder"):
            found = projection_properties.run_probe(workspace, wanted, name, on_progress=progress)
            return [
                {
                    "property": name,
                    "offset": one.offset,
                    "key": one.key,
                    "type": ", ".join(str(kind) for kind in one.types),
                    "count": one.count,
                }
                for one in found
            ]
        fold = (
            projection_properties.check_determinism
            if name == "determinism"
            else projection_properties.check_isolation
        )
        disagreement = fold(workspace, wanted, on_progress=progress)
    if disagreement is None:
        return []
    place = {"property": name, "offset": disagreement.offset, "key": disagreement.key}
    return [
        {
            **place,
            "path": one.path_text,
            "one": encode_value(one.before),
            "other": encode_value(one.after),
            "read": list(disagreement.reads),
        }
        for one in disagreement.differences
    ]


def _cell_text(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, list) else value
