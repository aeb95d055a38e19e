"""`refold fork-export`, `refold fork-apply` and `refold export`: forks and logs as files."""

from pathlib import Path

import click

from replay.export import timeline_log
from replay.forks import fork_file
from storage.errors import QueryError
from storage.timelines import forked_workspace
from storage.timelines.forked_workspace import ForkedWorkspace
from tui.cli.commands.fork import timeline_row
from tui.cli.support import options, output, progress_display

_file = click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
_replace = click.option("--replace", is_flag=True, help="Write over what is there.")


@click.command("fork-export")
@options.workspace_argument
@click.argument("name", metavar="NAME")
@_file
@_replace
@options.wait_option
@options.json_option
def fork_export(ws: str, name: str, file: Path, replace: bool, wait: float, as_json: bool) -> None:
    """Write a fork as a small file: its edits, where it branches, and what log it is of.

    A pytest file that shows what comes out of it is `refold reproduce --timeline NAME`.
    """
    seen = forked_workspace.open_timeline(options.open_workspace(ws, wait), name)
    if not isinstance(seen, ForkedWorkspace):
        raise QueryError("main is the log itself; `refold export` writes that.")
    with progress_display.busy_bar(f"writing {file}"):
        size = fork_file.write_fork_file(seen, file, replace=replace)
    if as_json:
        output.print_document({"timeline": name, "file": str(file), "bytes": size})
    else:
        click.echo(f"{file}: {size:,} bytes")


@click.command("fork-apply")
@options.workspace_argument
@_file
@click.option("--name", metavar="NAME", help="What to call the fork here.")
@options.wait_option
@options.json_option
def fork_apply(ws: str, file: Path, name: str | None, wait: float, as_json: bool) -> None:
    """Make a fork again that was written by `refold fork-export`, on the same log."""
    workspace = options.open_workspace(ws, wait)
    with progress_display.busy_bar(f"looking at {workspace.path}"):
        seen = fork_file.apply_fork_file(workspace, file, name)
    told = timeline_row(seen.fork)
    if as_json:
        output.print_document(told)
    else:
        click.echo(f"{told['timeline']}: forked from {told['parent']} at {told['at']}")


@click.command()
@options.workspace_argument
@_file
@options.timeline_option
@_replace
@options.wait_option
@options.json_option
def export(ws: str, file: Path, timeline: str, replace: bool, wait: float, as_json: bool) -> None:
    """Write the log of a timeline, with its edits, as JSON lines or Parquet that can be loaded."""
    workspace = options.open_workspace(ws, wait, timeline)
    with progress_display.file_bar(str(file)) as progress:
        count = timeline_log.write_timeline_log(
            workspace, file, replace=replace, on_progress=progress
        )
    if as_json:
        output.print_document({"file": str(file), "events": count})
    else:
        click.echo(f"{file}: {count:,} events")
