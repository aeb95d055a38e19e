"""`refold debug`: step into the handler of an event, with the state of that moment."""

import click

from replay.document.diff import decode, differences, encode
from replay.handlers import debug_session
from replay.handlers.debug_session import Stepped, Wish
from tui.cli.support import options, output, progress_display
from tui.text.sanitize import printable

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
    wanted = options.runnable(projection, python, workspace)
    offset = options.position(workspace, at)
    wish = Wish(offset, key, preferred, _IDE_PORT if ide and port is None else port)
    folded = debug_session.history_before(
        workspace,
        wanted,
        offset,
        lambda: options.fold(workspace, wanted),
    )
    workspace.release()
    debug_session.step(workspace, wanted, folded, wish, _tell, printable)


def _tell(stepped: Stepped) -> None:
    """What the handler did, and what it raised."""
    if stepped.traceback is not None:
        progress_display.text(stepped.traceback)
        progress_display.say(f"The handler raised, so {stepped.key} stays as it was.")
        return
    found = differences(decode(stepped.before), decode(stepped.after))
    if found:
        rows = [(stepped.key, d.written, encode(d.before), encode(d.after)) for d in found]
        output.table(("key", "path", "before", "after"), rows)
    else:
        progress_display.say(f"The handler changed nothing in {stepped.key}.")
