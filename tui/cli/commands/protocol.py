"""`refold protocol-test`: whether a program speaks the worker protocol."""

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from replay.checks.protocol_check import PATIENCE_SECONDS, ProtocolCheck
from sample_logs import SAMPLES
from storage.errors import QueryError
from storage.ingest import loader
from storage.log.event_log import EventDetail, EventLog
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tui.cli.support import options, output, workspace_opener
from tui.text.sanitize import sanitize_line


@click.command(
    "protocol-test",
    context_settings={"ignore_unknown_options": True},
    epilog=options.example("refold protocol-test node ../../docs/examples/orders.js"),
)
@click.option(
    "--events",
    "ws",
    metavar="WS",
    default=None,
    help="The log to test with; default: the sample log of orders.",
)
@click.option(
    "--limit",
    type=click.IntRange(2),
    default=300,
    show_default=True,
    help="How many of its events.",
)
@click.option(
    "--patience",
    type=float,
    default=PATIENCE_SECONDS,
    show_default=True,
    help="Seconds that each check may take.",
)
@options.wait_option
@options.json_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def protocol_test(
    ws: str | None,
    limit: int,
    patience: float,
    wait: float,
    as_json: bool,
    command: tuple[str, ...],
) -> int:
    """Test if a program speaks the worker protocol.

    COMMAND is the program with its arguments. Exit code 1 means that a check failed.
    """
    words = shlex.split(command[0].removeprefix("cmd:")) if len(command) == 1 else list(command)
    events = (
        _sample_events(limit)
        if ws is None
        else _first_events(workspace_opener.open_workspace(ws, wait), limit)
    )
    failed = 0
    test = ProtocolCheck(words, events, patience, _print_line)
    for finding in test.run_checks():
        failed += not finding.has_passed
        if as_json:
            row = {"check": finding.check, "passed": finding.has_passed, "said": finding.problem}
            output.print_json_lines([row])
        else:
            click.echo(f"{'✓' if finding.has_passed else '✗'} {finding.check}")
            if finding.problem:
                click.echo(f"  {sanitize_line(finding.problem)}")
    return int(failed > 0)


def _print_line(line: str) -> None:
    click.echo(sanitize_line(line), err=True)


def _sample_events(limit: int) -> list[EventDetail]:
    with TemporaryDirectory() as folder:
        target = Path(folder) / "orders.refold"
        loader.load_source([str(SAMPLES["orders"].log)], target)
        return _first_events(WorkspaceFile(target), limit)


def _first_events(workspace: Workspace, limit: int) -> list[EventDetail]:
    events = EventLog(workspace).read_details(0, limit)
    workspace.close()
    if not events:
        raise QueryError(f"{workspace.path} has no events to test the program with.")
    return events
