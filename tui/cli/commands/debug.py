"""`refold debug`: step through the handler of an event, with the state before that event."""

import click

from replay.document.diff import decode_state, encode_value, find_differences
from replay.handlers import debug_session
from replay.handlers.debug_session import DebugResult, DebugTarget
from tui.cli.support import options, output, progress_display, projection_resolver, workspace_opener
from tui.text.sanitize import sanitize_line

_IDE_PORT = 5678
"""The default port of debugpy in IDEs."""


@click.command(epilog=options.example("refold debug orders.jsonl -p orders_wrong.py --at 2376"))
@options.workspace_argument
@options.projection_option
@click.option("--at", "at", metavar="POSITION", required=True, help="The event.")
@click.option(
    "--key", "key", metavar="K", help="The document; default: the first that the event reaches."
)
@click.option("--prefer", "preferred", hidden=True, help="The document, if the event reaches it.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Wait for an IDE on this port (debugpy).",
)
@click.option("--ide", is_flag=True, help=f"Wait for an IDE on port {_IDE_PORT}.")
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
    """Step through the handler of an event in pdb.

    pdb stops at the handler's first line, with the document as it was before the event. The
    workspace and its histories don't change, and the handler can't reach the outside. When the
    handler returns, refold shows what it changed. The handler gets its own terminal inside yours;
    press Ctrl+C five times in a row to end it.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    wanted = projection_resolver.resolve_runnable_projection(projection, python, workspace)
    offset = workspace_opener.parse_position(workspace, at)
    target = DebugTarget(offset, key, preferred, _IDE_PORT if ide and port is None else port)
    folded = debug_session.find_history_before(
        workspace,
        wanted,
        offset,
        lambda: projection_resolver.fold_missing(workspace, wanted),
    )
    workspace.release()
    debug_session.debug_handler(workspace, wanted, folded, target, _print_result, sanitize_line)


def _print_result(stepped: DebugResult) -> None:
    """Print what the handler changed, or the traceback of what it raised."""
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
