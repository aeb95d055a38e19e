"""`refold replay`: fold a projection and keep its history."""

import json
import re
import signal
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import click

from gateway.modes import DEFAULT_MODE, Mode
from replay import fold
from replay.event_fold.fold_run import FoldProgress
from storage.plural import format_count
from tui.cli.support import config_file, missing_call_prompt, options, output, progress_display

_MIN_MEMORY_BYTES = 64 << 20
"""Bytes that a worker needs for itself."""
_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4}


def _parse_bytes(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    written = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", value.strip(), re.IGNORECASE)
    if written is None:
        raise click.BadParameter(f"{value!r} is no size; write 500MB or 2GiB")
    unit = written[2].lower()
    return int(float(written[1]) * (1024 if written[3] else 1000) ** (_UNITS[unit] if unit else 0))


@click.command()
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
@click.option("--force", is_flag=True, help="Fold anew, even if nothing has changed.")
@click.option(
    "--patience",
    type=float,
    default=30.0,
    show_default=True,
    help="Seconds a handler may take for an event.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    callback=_parse_bytes,
    help="What all workers may take, such as 500MB. More documents than fit into it are folded share"
    " after share; so they are beyond 1GiB where nothing is said.",
)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode if not mode.makes_live_calls]),
    default=DEFAULT_MODE.value,
    show_default=True,
    help="How calls to the outside are answered. what-if: by the overrides too, as a history of its own.",
)
@options.config_option
@click.option(
    "--own-time/--no-own-time",
    default=True,
    help="Clocks and random numbers are the event's own, not this machine's.",
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
    """Fold PROJ over the log, and keep every state; only what is new is folded.

    --from and --to are for a query over all events (SQL, Polars) that says nothing of what its
    documents depend on: it is asked after each event between them. Any other is folded whole.
    """
    if standby and not sys.stdin.readline():
        return  # whoever might have wanted it is gone
    if memory is not None and memory < workers * _MIN_MEMORY_BYTES:
        raise click.BadParameter(
            f"a worker needs {_MIN_MEMORY_BYTES >> 20}MiB at least", param_hint="--memory"
        )
    workspace = options.open_workspace(ws, wait, timeline)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    wished = {"mode": Mode(mode), "own_time": own_time}
    settings = config_file.gateway_settings(workspace.path, config, **wished)
    wanted = options.projection_reference(projection, python, workspace, settings)
    with (
        nullcontext(_print_progress_line)
        if progress_lines
        else progress_display.fold_bar(wanted.name) as progress
    ):
        folded = fold.fold_projection(
            workspace,
            wanted,
            force=force,
            workers=workers,
            patience=patience,
            memory=memory,
            span=options.parse_span(workspace, start, end),
            ask=missing_call_prompt.ask_for_answer
            if options.is_terminal() and not progress_lines
            else None,
            on_progress=progress,
            cancelled=stop.is_set,
        )
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
        progress_display.print_message(f"Its worker was shut in at {folded.isolation}.")
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


def _print_progress_line(progress: FoldProgress) -> None:
    """For the screen, which folds by running this command."""
    sys.stdout.write(
        json.dumps(
            {
                "folded": progress.folded,
                "events": progress.events,
                "keys": progress.keys,
                "failures": progress.failures,
                "kept": progress.kept,
            }
        )
        + "\n"
    )
    sys.stdout.flush()
