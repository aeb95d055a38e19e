"""`refold fork-export`, `refold fork-apply` and `refold export`: forks and logs as files."""

from pathlib import Path

import click

from replay.export import timeline_log
from replay.forks import fork_file
from storage.errors import QueryError
from storage.timelines import forked_workspace
from tui.cli.commands.fork import timeline_row
from tui.cli.support import options, output, progress_display, workspace_opener

_file = click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
_replace = click.option("--replace", is_flag=True, help="Overwrite an existing file.")


@click.command(
    "fork-export",
    epilog=options.example(
        "refold fork orders.jsonl no-refund --drop 2376",
        "refold fork-export orders.jsonl no-refund no-refund.json",
    ),
)
@options.workspace_argument
@click.argument("name", metavar="NAME")
@_file
@_replace
@options.wait_option
@options.json_option
def fork_export(ws: str, name: str, file: Path, replace: bool, wait: float, as_json: bool) -> None:
    """Write the edits of a fork to a small file.

    The file also names the fork position and identifies the log. `refold reproduce --timeline
    NAME` writes a pytest file for a fork.
    """
    forked = forked_workspace.as_fork(
        forked_workspace.open_timeline(workspace_opener.open_workspace(ws, wait), name)
    )
    if forked is None:
        raise QueryError("main is the log itself, not a fork; write it with `refold export`.")
    with progress_display.busy_bar(f"writing {file}"):
        size = fork_file.write_fork_file(forked, file, replace=replace)
    if as_json:
        output.print_document({"timeline": name, "file": str(file), "bytes": size})
    else:
        click.echo(f"{file}: {size:,} bytes")


@click.command(
    "fork-apply",
    epilog=options.example(
        "refold fork orders.jsonl no-refund --drop 2376",
        "refold fork-export orders.jsonl no-refund no-refund.json",
        "refold fork-apply orders.jsonl no-refund.json --name again",
    ),
)
@options.workspace_argument
@_file
@click.option("--name", metavar="NAME", help="Name of the new fork; default: the name in FILE.")
@options.wait_option
@options.json_option
def fork_apply(ws: str, file: Path, name: str | None, wait: float, as_json: bool) -> None:
    """Create a fork from a file of `refold fork-export`.

    WS must hold the log that the fork was made on.
    """
    workspace = workspace_opener.open_workspace(ws, wait)
    with progress_display.busy_bar(f"applying {file} to {workspace.path}"):
        forked = fork_file.apply_fork_file(workspace, file, name)
    row = timeline_row(forked.fork)
    if as_json:
        output.print_document(row)
    else:
        click.echo(f"{row['timeline']}: forked from {row['parent']} at {row['at']}")


@click.command(epilog=options.example("refold export orders.jsonl copy.jsonl"))
@options.workspace_argument
@_file
@options.timeline_option
@_replace
@options.wait_option
@options.json_option
def export(ws: str, file: Path, timeline: str, replace: bool, wait: float, as_json: bool) -> None:
    """Write the log of a timeline as JSON lines or Parquet.

    The edits of a fork are applied. `refold load` reads the file.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    with progress_display.file_bar(str(file)) as progress:
        count = timeline_log.write_timeline_log(
            workspace, file, replace=replace, on_progress=progress
        )
    if as_json:
        output.print_document({"file": str(file), "events": count})
    else:
        click.echo(f"{file}: {count:,} events")
