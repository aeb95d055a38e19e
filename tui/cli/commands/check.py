"""`refold check`: invariants over the whole history, and what folding it another way would give."""

from itertools import islice
from typing import Any

import click

from replay.document.diff import encode_value
from replay.history.fold_reports import InvariantViolation
from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference
from replay.query import invariants
from replay.query.unknown_paths import describe_unknown_paths
from storage.workspace.workspace import Workspace
from tui.cli.support import options, output, progress_display


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
@click.option(
    "--determinism",
    is_flag=True,
    help="Fold twice, with another hash seed, clock, time zone and random seed: the first difference.",
)
@click.option(
    "--isolation", is_flag=True, help="Fold keys apart from each other: the first difference."
)
@click.option(
    "--idempotence",
    is_flag=True,
    help="Events that would change the state again, if they came twice.",
)
@click.option(
    "--reorder",
    is_flag=True,
    help="Neighbours of different streams that would give another state the other way round.",
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
    """Every moment at which an invariant became broken, also those that healed; then exit code 1.

    One of the projection's that can't be asked is told after the others; then exit code 2.
    """
    workspace = options.open_workspace(ws, wait, timeline)
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
                "--invariant asks the history; ask for the properties by themselves"
            )
        reference = options.runnable_reference(projection, python, workspace)
        return _check_properties(workspace, reference, properties, as_json=as_json)
    span = options.parse_span(workspace, start, end)
    history = options.fold_history(workspace, projection, python, span)
    wanted = {text: text for text in asked} or None
    names = wanted or history.fold_record.invariants
    if not names:
        progress_display.print_message(
            f"{history.fold_record.name} declares no INVARIANTS; give one with --invariant CONDITION."
        )
        return 0
    troubles: list[str] = []
    found = invariants.find_violations(history, wanted, on_error=None if asked else troubles.append)
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
            f"What is broken at offset {history.fold_record.first_offset - 1:,}, where the"
            " asked events begin, was before."
        )
    for trouble in troubles:
        progress_display.print_message(trouble)
    for text in asked:
        progress_display.print_hint(describe_unknown_paths(history, text))
    if not rows.count and not troubles:
        held = "The invariant holds" if len(names) == 1 else f"All {len(names)} invariants hold"
        progress_display.print_message(
            f"{held} in every state up to offset {history.fold_record.next_offset - 1:,}."
        )
    return 2 if troubles else int(rows.count > 0)


def _is_within(found: InvariantViolation, span: OffsetSpan | None) -> bool:
    """Whether an invariant was broken anywhere in a span."""
    return span is None or (
        found.offset <= span.last and (found.until is None or found.until > span.position_before)
    )


def _check_properties(
    workspace: Workspace, wanted: Reference, names: list[str], *, as_json: bool
) -> int:
    """Whether folding it another way gives the same; rows tell where it doesn't."""
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
    "idempotence": "{} gives the same states if any event came twice.",
    "reorder": "{} gives a document the same state if two of its events in a row, of different streams,"
    " came the other way round.",
}


def _property_violations(
    workspace: Workspace, wanted: Reference, name: str
) -> list[dict[str, Any]]:
    from replay.checks import projection_properties  # noqa: PLC0415 - most checks ask the history

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
