"""`refold migrate`: for workspaces that an older refold has written."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from storage.errors import StaleError
from storage.plural import counted
from storage.workspace.migration import Migrated, Older
from storage.workspace.schema import FORMAT_VERSION
from tui.cli.support import options, output, progress_display
from tui.cli.support.sigint import stoppable


@click.command()
@click.argument("workspace", metavar="WORKSPACE", type=click.Path(path_type=Path))
@options.wait_option
@options.json_option
def migrate(workspace: Path, wait: float, as_json: bool) -> None:
    """Bring a workspace that an older refold has written to the format of this one.

    The log and what people made (forks, edits, recorded calls, bookmarks, watches) are taken over;
    everything is folded anew when it is asked for. The file takes its place when it is whole.
    """
    migrated = None
    while migrated is None:
        older = Older(workspace, wait=wait, on_wait=progress_display.waiting)
        if not older.outdated:
            progress_display.say(f"{workspace} is of format {FORMAT_VERSION} already.")
            return
        with (
            suppress(StaleError),  # another process has migrated it, or written into it
            progress_display.rewriting(older.rows) as progress,
            stoppable() as cancelled,
        ):
            migrated = older.migrate(on_progress=progress, cancelled=cancelled)
    if as_json:
        output.lines([asdict(migrated)])
    else:
        rows = [(name, count) for name, count in _rows(migrated).items() if count]
        output.table(("taken over", "count"), rows, right=("count",))
    progress_display.say(
        f"{workspace} was of format {migrated.format} and is of format {FORMAT_VERSION};"
        f" {counted(migrated.events, 'event')} will be folded when they are asked for."
    )


def _rows(migrated: Migrated) -> dict[str, int]:
    return {
        "events": migrated.events,
        "forks": migrated.forks,
        "edits": migrated.edits,
        "recorded calls": migrated.calls,
        "bookmarks": migrated.bookmarks,
        "watches": migrated.watches,
    }
