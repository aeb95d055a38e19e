"""`refold remove`: delete events or values, for example because a law requires it."""

from dataclasses import asdict

import click

from replay import erasure
from replay.erasure import ErasureRequest, ErasureResult
from replay.worker_host.sigint import catch_interrupt
from storage.plural import format_count
from tui.cli.support import options, output, progress_display, workspace_opener


@click.command(epilog=options.example("refold remove orders.jsonl --stream order-382 --yes"))
@options.workspace_argument
@click.option(
    "--stream",
    "streams",
    metavar="STREAM",
    multiple=True,
    help="Delete the events of this stream; repeatable.",
)
@click.option(
    "--where",
    metavar="SQL",
    help="Delete the events that match; with --stream, only those of the streams.",
)
@click.option(
    "--value",
    "values",
    metavar="PATH",
    multiple=True,
    help="Delete only the value at this path: data.email.",
)
@click.option(
    "--redact",
    "redacted",
    metavar="PATH",
    multiple=True,
    help="Replace the value at this path by a keyed hash, as `refold load --redact`.",
)
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
@options.wait_option
@options.json_option
def remove(
    ws: str,
    streams: tuple[str, ...],
    where: str | None,
    values: tuple[str, ...],
    redacted: tuple[str, ...],
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Delete events or values for good.

    refold rewrites the workspace's file, so that nothing of them remains there: not in forks,
    recorded calls, bookmarks or watches either. Projections are folded again when you next use
    them. The source file stays as it is.
    """
    workspace = workspace_opener.open_workspace(ws, wait)
    request = ErasureRequest(streams, where, values, redacted)
    offsets = erasure.select_offsets(workspace, request)
    with workspace.reading() as connection:
        total = workspace.count_positions(connection)
    events = total if offsets is None else len(offsets)
    what = " and ".join((*values, *redacted))
    description = (
        f"{what} of {format_count(events, 'event')}"
        if request.removes_values
        else format_count(events, "event")
    )
    before = workspace.path.stat().st_size
    if not yes:
        click.confirm(f"Remove {description} from {workspace.path} for good?", abort=True, err=True)
    with progress_display.rewrite_bar(total) as progress, catch_interrupt() as cancelled:
        removed = erasure.erase(workspace, request, on_progress=progress, is_cancelled=cancelled)
    if as_json:
        output.print_json_lines([asdict(removed)])
    else:
        output.print_table(
            ("removed", "count"), list(_summary_rows(removed, request)), right=("count",)
        )
    progress_display.print_message(_summary_text(removed, before, workspace.path.stat().st_size))


def _summary_rows(removed: ErasureResult, request: ErasureRequest) -> "list[tuple[str, int]]":
    names = {"events": "events with such values" if request.removes_values else "events"}
    names |= {"calls": "recorded calls", "edits": "edits of forks", "bookmarks": "bookmarks"}
    names |= {"watches": "watches", "notes": "notes of forks", "rejects": "rejected lines"}
    names |= {"folds": "histories, folded again when you use them"}
    rows = [(title, getattr(removed, name)) for name, title in names.items()]
    return [(title, count) for title, count in rows if count]


def _summary_text(removed: ErasureResult, before: int, after: int) -> str:
    size = f"The file was rewritten: {after / 1e6:,.1f} MB, was {before / 1e6:,.1f} MB."
    if removed.unsearched:
        values = format_count(removed.unsearched, "value")
        return f"{size} refold did not search other events for them, because there are {values}."
    if not removed.remains:
        return size
    named = {
        "events": "other event",
        "edits": "other edit",
        "sources": "source",
        "timelines": "fork name",
        "workspace": "fact about the file",
    }
    left = ", ".join(format_count(n, named[where]) for where, n in removed.remains.items())
    return f"{size} The removed values still occur elsewhere: {left}."
