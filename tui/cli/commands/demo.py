"""The demo as text: the same stops as on the screen, each with the command that shows it."""

import click

from replay.document.diff import decode, differences, encode
from replay.history.history import History
from sample_logs import Sample
from storage.log.event_log import EventLog
from storage.workspace.workspace import Workspace
from tui.cli.support import options, output, progress_display


def tour(sample: Sample, workspace: Workspace) -> None:
    """Fold the sample's two projections, and go to where the wrong one shows."""
    log = EventLog(workspace)
    end = log.extent().events - 1
    place = f"sample_logs/{sample.name}"
    progress_display.say(f"{sample.title}: {end + 1:,} events.")
    wrong = History(workspace, options.fold(workspace, options.refer(str(sample.wrong_projection))))
    right = History(workspace, options.fold(workspace, options.refer(str(sample.projection))))

    _stop(f"refold replay {place}/{sample.name}.jsonl -p {place}/{sample.wrong_projection.name}")
    folded = wrong.folded
    click.echo(
        f"{folded.folded:,} events folded into {folded.keys:,} documents with {folded.changes:,}"
        f" states; {folded.skipped:,} events had no handler, {folded.failures:,} made one raise."
    )
    if folded.failures:
        _stop("refold failures …")
        columns = ("offset", "key", "type", "error")
        rows = [(f.offset, f.key, f.type, f.error) for f in wrong.failures()]
        output.table(columns, rows, right=("offset",))

    key, offset = _first_difference(wrong, right, end)
    _stop(f"refold events … --at {offset} --limit 3")
    shown = [(e.offset, e.time, e.stream, e.type) for e in log.rows(max(offset - 2, 0), 3)]
    output.table(("offset", "time", "stream", "type"), shown, right=("offset",))
    _stop(f"refold diff … --from {offset - 1} --to {offset} --key {key}")
    changed = [
        (d.written, encode(d.before), encode(d.after))
        for d in wrong.moment(key, offset).differences()
    ]
    output.table(("path", "before", "after"), changed)

    _stop(f"{sample.wrong_projection.name} against {sample.projection.name}, at {offset}")
    ours = decode(_state(wrong, key, offset))
    theirs = decode(_state(right, key, offset))
    found = [(key, d.written, encode(d.before), encode(d.after)) for d in differences(ours, theirs)]
    output.table(("key", "path", "wrong", "right"), found)
    click.echo(f"\n{sample.name} is explained in {place}/README.md.")
    click.echo("On a terminal this opens the screen: make demo.")


def _stop(command: str) -> None:
    click.echo(f"\n$ {command}")


def _state(history: History, key: str, offset: int) -> str | None:
    change = history.state(key, offset)
    return change.state if change else None


def _first_difference(wrong: History, right: History, end: int) -> tuple[str, int]:
    """The earliest offset at which the two histories disagree, and the document."""
    with wrong.workspace.reading() as connection:
        row = connection.execute(
            'SELECT min_by(key, "offset"), min("offset") FROM (SELECT key, "offset" FROM'
            ' (SELECT key, "offset", state FROM history WHERE projection = $1) AS a'
            ' FULL JOIN (SELECT key, "offset", state FROM history WHERE projection = $2) AS b'
            ' USING (key, "offset") WHERE a.state IS DISTINCT FROM b.state)',
            [wrong.folded.number, right.folded.number],
        ).fetchone()
    if row is None or row[0] is None:
        return wrong.documents(0, 1)[0].key, end
    return str(row[0]), int(row[1])
