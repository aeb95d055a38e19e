"""`refold replay`: fold a projection and keep its history."""

import json
import re
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click

from gateway.modes import DEFAULT_MODE, Mode
from replay import fold
from replay.event_fold.fold_run import FoldCallbacks, FoldLimits, FoldProgress
from replay.history.catalogue import FoldRecord
from replay.worker_host.sigint import catch_interrupt
from storage.errors import StaleError
from storage.plural import format_count
from storage.timelines import forked_workspace
from storage.workspace.workspace import Workspace
from tui.cli.support import (
    config_file,
    missing_call_prompt,
    options,
    output,
    progress_display,
    projection_resolver,
    workspace_opener,
)

_MIN_MEMORY_BYTES = 64 << 20
"""Bytes that a worker needs besides the documents."""
_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4}


def _parse_bytes(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", value.strip(), re.IGNORECASE)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a size; write 500MB or 2GiB")
    unit = match[2].lower()
    return int(float(match[1]) * (1024 if match[3] else 1000) ** (_UNITS[unit] if unit else 0))


@click.command(epilog=options.example("refold replay orders.jsonl -p orders.py"))
@options.workspace_argument
@options.projection_option
@options.timeline_option
@options.python_option
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that share the documents.",
)
@click.option("--force", is_flag=True, help="Fold again, even if nothing has changed.")
@click.option(
    "--patience",
    type=float,
    default=30.0,
    show_default=True,
    help="Seconds that a handler may take for one event.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    callback=_parse_bytes,
    help="Memory of all workers together, or of a query in SQL, such as 500MB. refold folds documents"
    " that don't fit (without --memory: that don't fit into 1GiB) in several passes; a query ends.",
)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode if not mode.makes_live_calls]),
    default=DEFAULT_MODE.value,
    show_default=True,
    help="How calls to the outside are answered; what-if also uses the overrides, in a separate history.",
)
@options.config_option
@click.option(
    "--own-time/--no-own-time",
    default=True,
    help="Take clocks and random numbers from the event, or from this machine.",
)
@options.from_option
@options.to_option
@click.option("--progress-lines", is_flag=True, hidden=True, help="Progress as JSON lines.")
@click.option("--standby", is_flag=True, hidden=True, help="Begin when a line is read.")
@options.wait_option
@options.json_option
def replay(
    ws: str,
    projection: str,
    timeline: str,
    python: str | None,
    workers: int,
    force: bool,
    patience: float,
    memory: int | None,
    mode: str,
    config: Path | None,
    own_time: bool,
    start: str | None,
    end: str | None,
    progress_lines: bool,
    standby: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Fold PROJ over the log and keep every state.

    refold folds only what is new. --from and --to are for a query over all events (SQL, Polars)
    that doesn't declare what its documents depend on: refold runs it after each event between
    them. It folds every other projection over the whole log.
    """
    if standby and not sys.stdin.readline():
        return  # the parent process ended without asking for the fold
    if memory is not None and memory < workers * _MIN_MEMORY_BYTES:
        raise click.BadParameter(
            f"each worker needs at least {_MIN_MEMORY_BYTES >> 20}MiB", param_hint="--memory"
        )
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    gateway_options = {"mode": Mode(mode), "own_time": own_time}
    configs = config_file.NearbyConfigs(workspace.path)
    settings = configs.gateway_settings(config, **gateway_options)
    wanted = projection_resolver.ProjectionChoice(
        workspace, projection, python, configs
    ).build_reference(settings)
    if memory is not None and wanted.is_sql:  # DuckDB runs the query in this process
        workspace.main_workspace.limit_reading_memory(memory)
    with (
        catch_interrupt(signal.SIGINT, signal.SIGTERM) as cancelled,
        nullcontext(_print_progress_line)
        if progress_lines
        else progress_display.fold_bar(wanted.name) as progress,
    ):
        fold_timeline = partial(
            fold.fold_projection,
            reference=wanted,
            force=force,
            span=workspace_opener.parse_span(workspace, start, end),
            limits=FoldLimits(workers, patience, memory),
            callbacks=FoldCallbacks(
                progress,
                cancelled,
                missing_call_prompt.ask_for_answer
                if options.is_terminal() and not progress_lines
                else None,
            ),
        )
        folded = _fold_until_current(workspace, fold_timeline)
    result = {
        "projection": folded.label,
        "timeline": folded.timeline,
        "events": folded.next_offset,
        "skipped": folded.skipped_events,
        "failures": folded.failure_count,
        "keys": folded.document_count,
        "changes": folded.change_count,
        "seconds": round(folded.seconds, 3),
        "calls": folded.call_count,
        "clean_room": folded.isolation,
    }
    if folded.isolation is not None and not as_json and not progress_lines:
        progress_display.print_message(f"The worker ran in the sandbox: {folded.isolation}.")
    for type_name, count in folded.unhandled_by_type.items():
        progress_display.print_message(f"No handler for {type_name}: {count:,} events skipped.")
    if as_json or progress_lines:
        output.print_document(result)
    else:
        click.echo(
            f"{folded.label}: {format_count(folded.next_offset, 'event')}, {folded.skipped_events:,} skipped,"
            f" {format_count(folded.failure_count, 'failure')},"
            f" {format_count(folded.document_count, 'document')},"
            f" {format_count(folded.change_count, 'change')} ({folded.seconds:.1f} s)"
        )


def _fold_until_current(
    workspace: Workspace, fold_timeline: Callable[[Workspace], FoldRecord]
) -> FoldRecord:
    """Fold a timeline; if another process edits the fork meanwhile, fold it as it is then."""
    while True:
        try:
            return fold_timeline(workspace)
        except StaleError:
            workspace = forked_workspace.open_timeline(workspace.main_workspace, workspace.timeline)


def _print_progress_line(progress: FoldProgress) -> None:
    """Print progress as a JSON line for the screen, which runs this command to fold."""
    sys.stdout.write(
        json.dumps(
            {
                "folded": progress.folded,
                "events": progress.events,
                "keys": progress.keys,
                "failures": progress.failures,
                "kept": progress.stored_events,
            }
        )
        + "\n"
    )
    sys.stdout.flush()
