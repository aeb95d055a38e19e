"""Commands for calls to the outside: record, calls, calls-import, calls-export, calls-assign."""

from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import click

from gateway.exchange import import_export
from gateway.modes import Mode
from replay.compare import call_comparison
from replay.history import call_decisions, recorded_calls
from replay.history.call_decisions import CallDecision
from replay.worker_host.sigint import catch_interrupt
from replay.worker_host.worker_process import PATIENCE_SECONDS
from storage.errors import CancelledError
from storage.log.positions import START
from storage.plural import format_count
from storage.timelines import forked_workspace
from storage.workspace.workspace import Workspace
from tui.cli.support import (
    config_file,
    options,
    output,
    pending_commands,
    progress_display,
    projection_resolver,
    workspace_opener,
)
from tui.text.sanitize import sanitize_line

_COLUMNS = ("offset", "key", "port", "operation", "kind", "decision", "request", "response")
_GOING_OUT = [mode.value for mode in Mode if mode.makes_live_calls]


@click.command(epilog=options.example("refold record orders.jsonl -p fulfilment.py"))
@options.workspace_argument
@options.projection_option
@options.config_option
@click.option(
    "--send", multiple=True, metavar="PORT", help="Send commands to this port, in this run only."
)
@click.option(
    "--mode",
    type=click.Choice(_GOING_OUT),
    default=Mode.RECORD.value,
    show_default=True,
    help="record: keep the answers. live: keep nothing."
    " audit: repeat recorded queries and list the answers that changed.",
)
@click.option(
    "--resend",
    multiple=True,
    metavar="CALL|all",
    help="Send a pending command again: its number, or all; needs --send PORT too.",
)
@click.option(
    "--mark-done",
    multiple=True,
    metavar="CALL|all",
    help="Mark a pending command as answered, without sending it.",
)
@options.from_option
@options.to_option
@options.python_option
@click.option(
    "--patience",
    type=float,
    default=PATIENCE_SECONDS,
    show_default=True,
    help="Seconds that a handler may take for one event.",
)
@options.wait_option
@options.json_option
def record(
    ws: str,
    projection: str,
    config: Path | None,
    send: tuple[str, ...],
    mode: str,
    resend: tuple[str, ...],
    mark_done: tuple[str, ...],
    start: str | None,
    end: str | None,
    python: str | None,
    patience: float,
    wait: float,
    as_json: bool,
) -> int:
    """Run PROJ with live queries and keep the answers.

    A command goes out only to a port that you name with --send; refold suppresses and records any
    other. No state is kept: refold folds the history from the recordings, which hold no secrets.

    A command is pending if a recording ended before its answer came. It may have been sent, so
    refold doesn't send it again unless you say so at the terminal or with --resend. `refold calls
    WS --decision pending` lists the pending commands.
    """
    from replay import call_recorder  # noqa: PLC0415 - listing calls needs no worker

    workspace = workspace_opener.open_workspace(ws, wait)
    pending = pending_commands.choices(resend, mark_done)
    pending.refuse_unknown(workspace)
    gateway_options = {"mode": Mode(mode), "send": frozenset(send), "pending": pending}
    configs = config_file.NearbyConfigs(workspace.path)
    settings = configs.gateway_settings(config, **gateway_options)
    choice = projection_resolver.ProjectionChoice(workspace, projection, python, configs)
    wanted = choice.build_runnable_reference()
    span = workspace_opener.parse_span(workspace, start, end)
    before = None
    if span is not None and span.first > 0:
        before = projection_resolver.fold_missing(workspace, wanted)
    with catch_interrupt() as cancelled, progress_display.recording_bar(wanted.name) as progress:

        def raise_if_cancelled() -> None:
            if cancelled():
                raise CancelledError("Stopped. The calls that were answered are kept.")

        made, changed = call_recorder.record(
            workspace,
            wanted,
            settings,
            base_record=before,
            span=span,
            patience=patience,
            on_progress=progress,
            raise_if_cancelled=raise_if_cancelled,
        )
    if made.first_missed is not None:
        progress_display.print_message(
            f"Some calls could not be made; the first: {made.first_missed}."
        )
    for port in made.uncalled_ports:
        progress_display.print_message(f"The projection called no command of port {port}.")
    unsent = made.suppressed_count - len(made.pending)
    if unsent > 0:
        progress_display.print_message(
            f"{format_count(unsent, 'command')} not sent. Give --send PORT to send the commands of a port."
        )
    progress_display.print_hint(pending_commands.sentence(made.pending))
    row = {
        "calls": made.call_count,
        "errors": made.error_count,
        "suppressed": made.suppressed_count,
    }
    row["pending"] = len(made.pending)
    if as_json:
        output.print_document(
            {**row, "changed": len(changed)} if settings.mode is Mode.AUDIT else row
        )
    else:
        click.echo(
            f"{wanted.name}: {format_count(made.call_count, 'call')},"
            f" {format_count(made.error_count, 'error')},"
            f" {made.suppressed_count:,} suppressed"
        )
    if settings.mode is Mode.AUDIT and not as_json:
        rows = (
            (
                c.recording.offset,
                c.recording.call.key,
                c.recording.call.port,
                c.recording.call.operation,
                "; ".join(c.differences),
            )
            for c in changed
        )
        output.print_table(
            ("offset", "key", "port", "operation", "then → now"), rows, right=("offset",)
        )
    return int(bool(changed))


@click.command(
    epilog=options.example(
        "refold calls-import orders.jsonl rates.jsonl",
        "refold calls orders.jsonl -p fulfilment.py --at 1332",
    )
)
@options.workspace_argument
@click.option(
    "-p",
    "--projection",
    "projection",
    metavar="PROJ",
    help="Only the calls of this projection's fold.",
)
@options.timeline_option
@click.option("--at", "at", metavar="POSITION", help="The calls of one event, in full.")
@click.option(
    "--decision",
    metavar="DECISION",
    help="Only calls with this decision: recorded, missed, blocked …",
)
@click.option("--reads", is_flag=True, help="List reads of clocks and random numbers instead.")
@click.option("--compare", "other", metavar="T2", help="Only calls that differ on this timeline.")
@options.limit_option
@options.python_option
@options.wait_option
@options.json_option
def calls(
    ws: str,
    projection: str | None,
    timeline: str,
    at: str | None,
    decision: str | None,
    reads: bool,
    other: str | None,
    limit: int | None,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """List calls to the outside with their decisions.

    With -p: the calls of the projection's fold, and its blocked attempts to get out. Without -p:
    all recordings.
    """
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    if other is not None:
        if projection is None:
            raise click.UsageError("--compare needs a projection. Give -p PROJ.")
        _print_call_differences(workspace, other, projection, python, limit, as_json=as_json)
        return
    if projection is None:
        if reads:
            raise click.UsageError("--reads needs a projection. Give -p PROJ.")
        found = recorded_calls.list_recordings(workspace)
    else:
        history = projection_resolver.fold_history(workspace, projection, python)
        if reads:
            rows = call_decisions.list_nondeterministic_reads(history, limit)
            output.print_rows(("offset", "read"), rows, as_json=as_json, right=("offset",))
            return
        found = call_decisions.read_fold_decisions(history)
    if at is not None:
        offset = workspace_opener.parse_position(workspace, at)
        found = (one for one in found if one.offset == (None if offset == START else offset))
    if decision is not None:
        found = (one for one in found if one.decision == decision)
    found = islice(found, limit)
    if at is not None and not as_json:
        for one in found:
            _print_call(one)
    elif as_json:
        output.print_json_lines(map(_call_row, found))
    else:
        shown = ([getattr(one, name) for name in (*_COLUMNS, "reason")] for one in found)
        output.print_table((*_COLUMNS, "reason"), shown, right=("offset",))


def _print_call_differences(
    workspace: Workspace,
    other: str,
    projection: str,
    python: str | None,
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    """Print the calls that differ between two timelines."""
    a, b = (
        projection_resolver.fold_history(
            forked_workspace.open_timeline(workspace.main_workspace, timeline), projection, python
        )
        for timeline in (workspace.timeline, other)
    )
    pairs = islice(call_comparison.compare_calls(a, b), limit)
    columns = ("offset", "key", "port", "operation", "kind", "change", "says")
    rows = []
    for pair in pairs:
        one = pair.either
        at = None if pair.label is None else pair.label.json_value
        columns_of_both = (at, one.key, one.port, one.operation, one.kind)
        row = dict(zip(columns, (*columns_of_both, pair.change.value, pair.headline), strict=True))
        for name, side in (("a", pair.a), ("b", pair.b)):
            row[f"request_{name}"] = output.raw_json(None if side is None else side.request)
            row[f"response_{name}"] = output.raw_json(None if side is None else side.response)
        rows.append(row)
    if as_json:
        output.print_json_lines(rows)
    else:
        shown = (*columns, "request_a", "request_b")
        output.print_table(shown, ([row[name] for name in shown] for row in rows))
    progress_display.print_message(
        f"{format_count(len(rows), 'call')} {'differs' if len(rows) == 1 else 'differ'}."
    )


@click.command(
    "calls-import", epilog=options.example("refold calls-import orders.jsonl rates.jsonl")
)
@options.workspace_argument
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--window",
    type=float,
    default=import_export.ASSIGNMENT_WINDOW.total_seconds(),
    show_default=True,
    metavar="SECONDS",
    help="How long after an event a call may come and still be assigned to it.",
)
@options.wait_option
@options.json_option
def calls_import(ws: str, file: Path, window: float, wait: float, as_json: bool) -> None:
    """Import recordings from vcrpy, HAR or JSON lines.

    FILE is a cassette of vcrpy, a HAR file, or a journal of JSON lines.
    """
    workspace = workspace_opener.open_workspace(ws, wait)
    ports = config_file.NearbyConfigs(workspace.path).gateway_settings().ports
    with progress_display.busy_bar(f"importing {file}"):
        found = import_export.import_recordings(workspace, file, ports, timedelta(seconds=window))
    if found.was_imported_before:
        progress_display.print_message(f"{file} was imported before; it has no new calls.")
    unassigned = found.call_count - found.assigned_count
    if unassigned:
        progress_display.print_message(
            f"{format_count(unassigned, 'call')} can't be matched to an event. Assign them with"
            ' `refold calls-assign`, or let any event use them with missing = ["latest"] of the port.'
        )
    if found.without_answer_count:
        progress_display.print_message(
            f"{file} has {format_count(found.without_answer_count, 'answer')} without a body."
        )
    if found.has_secrets:
        progress_display.print_message("refold found secrets and removed them.")
    if as_json:
        output.print_document({"calls": found.call_count, "assigned": found.assigned_count})
    else:
        click.echo(
            f"{format_count(found.call_count, 'call')}, {found.assigned_count:,} assigned to an event"
        )


@click.command(
    "calls-export",
    epilog=options.example(
        "refold calls-import orders.jsonl rates.jsonl",
        "refold calls-export orders.jsonl calls.jsonl",
    ),
)
@options.workspace_argument
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@options.wait_option
@options.json_option
def calls_export(ws: str, file: Path, wait: float, as_json: bool) -> None:
    """Export all recordings to vcrpy, HAR or JSON lines.

    The suffix of FILE chooses the format: .jsonl (a journal), .yaml (a cassette of vcrpy) or .har.
    """
    workspace = workspace_opener.open_workspace(ws, wait)
    with progress_display.busy_bar(f"exporting to {file}"):
        found = import_export.export_recordings(workspace, file)
    if found.left_out_count:
        progress_display.print_message(
            f"{format_count(found.left_out_count, 'call')} left out, because only a journal can hold them."
        )
    if found.has_secrets:
        progress_display.print_message(
            "refold found and removed secrets that it had not recognized when it recorded them."
        )
    if as_json:
        output.print_document({"calls": found.call_count})
    else:
        click.echo(f"{format_count(found.call_count, 'call')} written to {file}")


@click.command(
    "calls-assign",
    epilog=options.example(
        "refold calls-import orders.jsonl rates.jsonl", "refold calls-assign orders.jsonl 2 1463"
    ),
)
@options.workspace_argument
@click.argument("call", metavar="CALL", type=int)
@click.argument("position", metavar="POSITION")
@options.wait_option
def calls_assign(ws: str, call: int, position: str, wait: float) -> None:
    """Assign an imported call to the event that caused it.

    CALL is the number of the call: the field `call` of `refold calls WS --json`.
    """
    workspace = workspace_opener.open_workspace(ws, wait)
    offset = workspace_opener.parse_position(workspace, position)
    recorded_calls.assign_recording(workspace, str(call), offset)


def _call_row(one: CallDecision) -> dict[str, Any]:
    row = {name: getattr(one, name) for name in _COLUMNS}
    row["request"], row["response"] = output.raw_json(one.request), output.raw_json(one.response)
    return {**row, "reason": one.reason, "call": one.call, "stack": one.stack}


def _print_call(one: CallDecision) -> None:
    """Print a call in full."""
    click.echo(sanitize_line(f"{one.port} {one.operation}  {one.decision}: {one.reason}"))
    for name, text in (("request", one.request), ("response", one.response)):
        if text is not None:
            click.echo(f"  {name}: {sanitize_line(text)}")
    if one.stack:
        for line in one.stack.splitlines():
            click.echo(f"  {sanitize_line(line)}")
