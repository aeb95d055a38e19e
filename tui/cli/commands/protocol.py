"""`refold protocol-test`: whether a program speaks the worker protocol."""

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from replay.checks.protocol_check import PATIENCE, ProtocolTest
from sample_logs import SAMPLES
from storage.errors import QueryError
from storage.ingest import loader
from storage.log.event_log import EventDetail, EventLog
from storage.workspace.workspace import Workspace
from tui.cli.support import options, output
from tui.text.sanitize import printable


@click.command("protocol-test", context_settings={"ignore_unknown_options": True})
@click.option(
    "--events",
    "ws",
    metavar="WS",
    default=None,
    help="A log that the program knows; the sample of orders if left out.",
)
@click.option("--limit", type=click.IntRange(2), default=300, show_default=True, help="Its events.")
@click.option(
    "--patience",
    type=float,
    default=PATIENCE,
    show_default=True,
    help="Seconds that a check may take.",
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
    """Check that COMMAND speaks the worker protocol, and say what is wrong; then exit code 1."""
    words = shlex.split(command[0].removeprefix("cmd:")) if len(command) == 1 else list(command)
    events = _sample(limit) if ws is None else _first(options.open_workspace(ws, wait), limit)
    failed = 0
    test = ProtocolTest(words, events, patience, _said)
    for finding in test.findings():
        failed += not finding.passed
        if as_json:
            told = {"check": finding.check, "passed": finding.passed, "said": finding.said}
            output.lines([told])
        else:
            click.echo(f"{'✓' if finding.passed else '✗'} {finding.check}")
            if finding.said:
                click.echo(f"  {printable(finding.said)}")
    return int(failed > 0)


def _said(line: str) -> None:
    click.echo(printable(line), err=True)


def _sample(limit: int) -> list[EventDetail]:
    with TemporaryDirectory() as folder:
        target = Path(folder) / "orders.refold"
        loader.load([str(SAMPLES["orders"].log)], target)
        return _first(Workspace(target), limit)


def _first(workspace: Workspace, limit: int) -> list[EventDetail]:
    events = EventLog(workspace).details(0, limit)
    workspace.close()
    if not events:
        raise QueryError(f"{workspace.path} has no events to try the program on.")
    return events
