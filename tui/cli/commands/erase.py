"""`refold remove`: for people who are obliged to delete."""

from dataclasses import asdict

import click

from replay import erasure
from replay.erasure import ErasureRequest, ErasureResult
from storage.plural import format_count
from tui.cli.support import options, output, progress_display
from tui.cli.support.sigint import catch_sigint


@click.command()
@options.workspace_argument
@click.option(
    "--stream", "streams", metavar="STREAM", multiple=True, help="The events of a stream."
)
@click.option(
    "--where", metavar="SQL", help="The events that match; of the streams, if some are given."
)
@click.option(
    "--value",
    "values",
    metavar="PATH",
    multiple=True,
    help="Not the events, but what is at a path: data.email.",
)
@click.option(
    "--redact",
    "redacted",
    metavar="PATH",
    multiple=True,
    help="The same, with a keyed hash in its place, as in load.",
)
@click.option("--yes", is_flag=True, help="Don't ask.")
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
    """Remove events, or values from them, so that nothing of them remains in the workspace's file.

    Forks, recorded calls, bookmarks and watches included; everything is folded anew when it is asked
    for. The source that was loaded stays as it is.
    """
    workspace = options.open_workspace(ws, wait)
    wish = ErasureRequest(streams, where, values, redacted)
    offsets = erasure.select_offsets(workspace, wish)
    with workspace.reading() as connection:
        total = workspace.count_positions(connection)
    events = total if offsets is None else len(offsets)
    what = " and ".join((*values, *redacted))
    said = (
        f"{what} of {format_count(events, 'event')}"
        if wish.removes_values
        else format_count(events, "event")
    )
    before = workspace.path.stat().st_size
    if not yes:
        click.confirm(f"Remove {said} from {workspace.path} for good?", abort=True, err=True)
    with progress_display.rewrite_bar(total) as progress, catch_sigint() as cancelled:
        removed = erasure.erase(workspace, wish, on_progress=progress, is_cancelled=cancelled)
    if as_json:
        output.print_json_lines([asdict(removed)])
    else:
        output.print_table(
            ("removed", "count"), list(_summary_rows(removed, wish)), right=("count",)
        )
    progress_display.print_message(_summary_text(removed, before, workspace.path.stat().st_size))


def _summary_rows(removed: ErasureResult, wish: ErasureRequest) -> "list[tuple[str, int]]":
    names = {"events": "events with such values" if wish.removes_values else "events"}
    names |= {"calls": "recorded calls", "edits": "edits of forks", "bookmarks": "bookmarks"}
    names |= {"watches": "watches", "notes": "notes of forks", "rejects": "rejected lines"}
    names |= {"folds": "histories, folded anew when they are asked for"}
    found = [(said, getattr(removed, name)) for name, said in names.items()]
    return [(said, count) for said, count in found if count]


def _summary_text(removed: ErasureResult, before: int, after: int) -> str:
    size = f"The file was written anew: {after / 1e6:,.1f} MB, was {before / 1e6:,.1f} MB."
    if removed.unsearched:
        values = format_count(removed.unsearched, "value")
        return f"{size} Other events weren't looked through for them, as these are {values}."
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
    return f"{size} What was removed is still mentioned: {left}."
