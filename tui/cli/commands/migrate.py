"""`refold migrate`: for workspaces that an older refold has written."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from storage.errors import StaleError
from storage.plural import format_count
from storage.workspace.migration import MigrationResult, OlderWorkspace
from storage.workspace.schema import FORMAT_VERSION
from tui.cli.support import options, output, progress_display
from tui.cli.support.sigint import catch_sigint


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
        older = OlderWorkspace(workspace, wait_seconds=wait, on_wait=progress_display.print_waiting)
        if not older.is_outdated:
            progress_display.print_message(f"{workspace} is of format {FORMAT_VERSION} already.")
            return
        with (
            suppress(StaleError),  # another process has migrated it, or written into it
            progress_display.rewrite_bar(older.estimate_rows) as progress,
            catch_sigint() as cancelled,
        ):
            migrated = older.migrate(on_progress=progress, is_cancelled=cancelled)
    if as_json:
        output.print_json_lines([asdict(migrated)])
    else:
        rows = [(name, count) for name, count in _summary_rows(migrated).items() if count]
        output.print_table(("taken over", "count"), rows, right=("count",))
    progress_display.print_message(
        f"{workspace} was of format {migrated.format} and is of format {FORMAT_VERSION};"
        f" {format_count(migrated.events, 'event')} will be folded when they are asked for."
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
