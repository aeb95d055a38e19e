"""The demo as text: the stops of the screen's tour, each with the command that shows it."""

import click

from replay.document.diff import decode_state, encode_value, find_differences
from replay.history.history import History
from sample_logs import Sample
from storage.log.event_log import EventLog
from storage.workspace.workspace import Workspace
from tui.cli.support import output, progress_display, projection_resolver


def print_tour(sample: Sample, workspace: Workspace) -> None:
    """Fold the sample's two projections and show where the wrong one first differs."""
    log = EventLog(workspace)
    end = log.read_extent().event_count - 1
    place = f"sample_logs/{sample.name}"
    progress_display.print_message(f"{sample.title}: {end + 1:,} events.")
    wrong = History(
        workspace,
        projection_resolver.fold_missing(
            workspace, projection_resolver.resolve_projection(str(sample.wrong_projection))
        ),
    )
    right = History(
        workspace,
        projection_resolver.fold_missing(
            workspace, projection_resolver.resolve_projection(str(sample.projection))
        ),
    )

    _print_stop(
        f"refold replay {place}/{sample.name}.jsonl -p {place}/{sample.wrong_projection.name}"
    )
    folded = wrong.fold_record
    click.echo(
        f"{folded.next_offset:,} events folded into {folded.document_count:,} documents with"
        f" {folded.change_count:,} states; {folded.skipped_events:,} events had no handler,"
        f" {folded.failure_count:,} made a handler raise."
    )
    if folded.failure_count:
        _print_stop("refold failures …")
        columns = ("offset", "key", "type", "error")
        rows = [(f.offset, f.key, f.type, f.error) for f in wrong.failures()]
        output.print_table(columns, rows, right=("offset",))

    key, offset = _first_difference(wrong, right, end)
    _print_stop(f"refold events … --at {offset} --limit 3")
    shown = [(e.offset, e.time, e.stream, e.type) for e in log.read_events(max(offset - 2, 0), 3)]
    output.print_table(("offset", "time", "stream", "type"), shown, right=("offset",))
    _print_stop(f"refold diff … --from {offset - 1} --to {offset} --key {key}")
    changed = [
        (d.path_text, encode_value(d.before), encode_value(d.after))
        for d in wrong.document_at(key, offset).differences_to_previous()
    ]
    output.print_table(("path", "before", "after"), changed)

    _print_stop(f"{sample.wrong_projection.name} against {sample.projection.name}, at {offset}")
    ours = decode_state(_state_text(wrong, key, offset))
    theirs = decode_state(_state_text(right, key, offset))
    found = [
        (key, d.path_text, encode_value(d.before), encode_value(d.after))
        for d in find_differences(ours, theirs)
    ]
    output.print_table(("key", "path", "wrong", "right"), found)
    click.echo(f"\n{place}/README.md explains the bugs of {sample.name}.")
    click.echo("To see this on the screen, run `make demo` in a terminal.")


def _print_stop(command: str) -> None:
    click.echo(f"\n$ {command}")


def _state_text(history: History, key: str, offset: int) -> str | None:
    change = history.state_at(key, offset)
    return change.state if change else None


def _first_difference(wrong: History, right: History, end: int) -> tuple[str, int]:
    """Return the document and the offset at which the two histories first differ."""
    with wrong.workspace.reading() as connection:
        row = connection.execute(
            'SELECT min_by(key, "offset"), min("offset") FROM (SELECT key, "offset" FROM'
            ' (SELECT key, "offset", state FROM history WHERE projection = $1) AS a'
            ' FULL JOIN (SELECT key, "offset", state FROM history WHERE projection = $2) AS b'
            ' USING (key, "offset") WHERE a.state IS DISTINCT FROM b.state)',
            [wrong.fold_record.projection_number, right.fold_record.projection_number],
        ).fetchone()
    if row is None or row[0] is None:
        return wrong.documents(0, 1)[0].key, end
    return str(row[0]), int(row[1])
