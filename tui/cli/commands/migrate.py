"""`refold migrate`: convert a workspace that an older refold wrote."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from replay.worker_host.sigint import catch_interrupt
from storage.errors import StaleError
from storage.plural import format_count
from storage.workspace.migration import MigrationResult, OlderWorkspace
from storage.workspace.schema import FORMAT_VERSION
from tui.cli.support import options, output, progress_display


@click.command(epilog=options.example("refold load orders.jsonl", "refold migrate orders.refold"))
@click.argument("workspace", metavar="WORKSPACE", type=click.Path(path_type=Path))
@options.wait_option
@options.json_option
def migrate(workspace: Path, wait: float, as_json: bool) -> None:
    """Convert a workspace of an older refold to today's format.

    refold keeps the log, forks, edits, recorded calls, bookmarks and watches, and folds
    projections again when you next use them. The new file replaces the old one when it is complete.
    """
    migrated = None
    while migrated is None:
        older = OlderWorkspace(workspace, wait_seconds=wait, on_wait=progress_display.print_waiting)
        if not older.is_outdated:
            progress_display.print_message(f"{workspace} already has format {FORMAT_VERSION}.")
            return
        with (
            suppress(StaleError),  # another process migrated or wrote it: look again
            progress_display.rewrite_bar(older.estimate_rows) as progress,
            catch_interrupt() as cancelled,
        ):
            migrated = older.migrate(on_progress=progress, is_cancelled=cancelled)
    if as_json:
        output.print_json_lines([asdict(migrated)])
    else:
        rows = [(name, count) for name, count in _summary_rows(migrated).items() if count]
        output.print_table(("kept", "count"), rows, right=("count",))
    progress_display.print_message(
        f"{workspace} now has format {FORMAT_VERSION} (before: {migrated.format});"
        f" refold folds the {format_count(migrated.events, 'event')} again when you next use them."
    )


def _summary_rows(migrated: MigrationResult) -> dict[str, int]:
    return {
        "events": migrated.events,
        "forks": migrated.forks,
        "edits": migrated.edits,
        "recorded calls": migrated.calls,
        "bookmarks": migrated.bookmarks,
        "watches": migrated.watches,
    }
