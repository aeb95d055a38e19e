"""`refold open` and `refold demo`: the screen, or the demo as text if there is no terminal."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from sample_logs import SAMPLES
from storage.workspace.workspace_file import SCREEN_MEMORY_BYTES, WorkspaceFile
from tui.cli.support import (
    options,
    progress_display,
    projection_resolver,
    source_follower,
    workspace_opener,
)
from tui.state import view_address


@click.command(
    "open", epilog=options.example("refold open orders.jsonl -p orders_wrong.py --at 2376")
)
@options.workspace_argument
@click.option(
    "-p",
    "--projection",
    "projections",
    metavar="PROJ",
    multiple=True,
    help="A projection; repeatable.",
)
@options.at_option
@options.timeline_option
@options.python_option
@click.option("--follow", is_flag=True, help="Keep loading new events from the source WS.")
@options.wait_option
def open_(
    ws: str,
    projections: tuple[str, ...],
    at: str | None,
    timeline: str,
    python: str | None,
    follow: bool,
    wait: float,
) -> None:
    """Open the screen on a workspace or a source.

    WS can also be an address that you copied on the screen (key Y): refold:….refold?at=1204.
    """
    if not options.is_terminal():
        raise click.UsageError(
            "The screen needs a terminal; `refold state`, `find` and `check` work without one."
        )
    from tui.app import run_app  # noqa: PLC0415 - Textual is imported for the screen only

    place = None
    if ws.startswith(view_address.SCHEME):
        place = view_address.parse_address(ws)
        ws, at, timeline = str(place.workspace), at or place.position, place.timeline
    workspace = workspace_opener.open_workspace(ws, wait, timeline, memory=SCREEN_MEMORY_BYTES)
    references = [
        projection_resolver.resolve_projection(projection, python, workspace)
        for projection in projections
    ]
    offset = workspace_opener.parse_position(workspace, at) if at is not None else None
    if follow and workspace_opener.is_workspace(ws):
        raise click.UsageError(f"{ws} is a workspace; --follow needs its source, a file or a link.")
    no_messages: AbstractContextManager[Iterator[str]] = nullcontext(iter(()))
    with (
        source_follower.follow_in_process(ws, workspace.path) if follow else no_messages
    ) as messages:
        run_app(workspace, references, at=offset, place=place, told=messages)


@click.command(epilog=options.example("refold demo orders"))
@click.argument("name", metavar="[NAME]", default="orders", type=click.Choice(sorted(SAMPLES)))
def demo(name: str) -> None:
    """Find the bug of a sample projection on its log.

    NAME is orders, accounts or stock. Without a terminal, refold prints the tour as text.
    """
    from storage.ingest import loader  # noqa: PLC0415 - `open` needs none of it

    sample = SAMPLES[name]
    with tempfile.TemporaryDirectory(prefix="refold-demo-") as folder:
        # Load a copy: the workspace beside it then goes away with the folder.
        log = Path(folder) / sample.log.name
        shutil.copy(sample.log, log)
        target = Path(folder) / f"{name}.refold"
        with progress_display.load_bar(str(sample.log.name)) as progress:
            loader.load_source([str(log)], target, on_progress=progress)
        if options.is_terminal():
            from tui.app import run_app  # noqa: PLC0415 - Textual is imported for the screen only

            workspace = WorkspaceFile(target, memory_bytes=SCREEN_MEMORY_BYTES)
            run_app(
                workspace,
                [projection_resolver.resolve_projection(str(sample.wrong_projection))],
                at=None,
            )
        else:
            from tui.cli.commands.demo import print_tour  # noqa: PLC0415 - only needed without a terminal

            print_tour(sample, WorkspaceFile(target))
