"""`refold debug`: step into the handler of an event, with the state of that moment."""

import click

from replay.document.diff import decode_state, encode_value, find_differences
from replay.handlers import debug_session
from replay.handlers.debug_session import DebugResult, DebugTarget
from tui.cli.support import options, output, progress_display
from tui.text.sanitize import sanitize_line

_IDE_PORT = 5678
"""What IDEs offer for debugpy."""


@click.command()
@options.workspace_argument
@options.projection_option
@click.option("--at", "at", metavar="POSITION", required=True, help="The event.")
@click.option("--key", "key", metavar="K", help="The document; else the event's first.")
@click.option("--prefer", "preferred", hidden=True, help="The document, if the event reaches it.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", help="Wait for an IDE there (debugpy)."
)
@click.option("--ide", is_flag=True, help=f"The same, on port {_IDE_PORT}.")
@options.timeline_option
@options.python_option
@options.wait_option
def debug(
    ws: str,
    projection: str,
    at: str,
    key: str | None,
    preferred: str | None,
    port: int | None,
    ide: bool,
    timeline: str,
    python: str | None,
    wait: float,
) -> None:
    """Run the handler of an event under pdb, with the document as it was before that event.

    Stops at the handler's first line. Nothing is written: neither the workspace nor its histories
    change, and the handler can't reach the outside. When it has returned, shows what it changed.
    The handler gets a terminal of its own inside yours; Ctrl+C five times in a row ends it.
    """
    workspace = options.open_workspace(ws, wait, timeline)
    wanted = options.runnable_reference(projection, python, workspace)
    offset = options.parse_position(workspace, at)
    wish = DebugTarget(offset, key, preferred, _IDE_PORT if ide and port is None else port)
    folded = debug_session.find_history_before(
        workspace,
        wanted,
        offset,
        lambda: options.fold_missing(workspace, wanted),
    )
    workspace.release()
    debug_session.debug_handler(workspace, wanted, folded, wish, _print_result, sanitize_line)


def _print_result(stepped: DebugResult) -> None:
    """What the handler did, and what it raised."""
    if stepped.traceback is not None:
        progress_display.print_text(stepped.traceback)
        progress_display.print_message(f"The handler raised, so {stepped.key} stays as it was.")
        return
    found = find_differences(decode_state(stepped.state_before), decode_state(stepped.state_after))
    if found:
        rows = [
            (stepped.key, d.path_text, encode_value(d.before), encode_value(d.after)) for d in found
        ]
        output.print_table(("key", "path", "before", "after"), rows)
    else:
        progress_display.print_message(f"The handler changed nothing in {stepped.key}.")
