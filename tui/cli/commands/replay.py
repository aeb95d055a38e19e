"""`refold replay`: fold a projection and keep its history."""

import json
import re
import signal
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import click

from gateway.modes import DEFAULT, Mode
from replay import fold
from replay.event_fold.run_context import FoldProgress
from storage.plural import counted
from tui.cli.support import config_file, missing_call_prompt, options, output, progress_display

_LEAST = 64 << 20
"""Bytes that a worker needs for itself."""
_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4}


def _bytes(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
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
    callback=_bytes,
    help="What all workers may take, such as 500MB. More documents than fit into it are folded share"
    " after share; so they are beyond 1GiB where nothing is said.",
)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode if not mode.goes_out]),
    default=DEFAULT.value,
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
    if memory is not None and memory < workers * _LEAST:
        raise click.BadParameter(
            f"a worker needs {_LEAST >> 20}MiB at least", param_hint="--memory"
        )
    workspace = options.open_workspace(ws, wait, timeline)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    wished = {"mode": Mode(mode), "own_time": own_time}
    settings = config_file.settings(workspace.path, config, **wished)
    wanted = options.refer(projection, python, workspace, settings)
    with (
        nullcontext(_line) if progress_lines else progress_display.folding(wanted.name) as progress
    ):
        folded = fold.fold(
            workspace,
            wanted,
            force=force,
            workers=workers,
            patience=patience,
            memory=memory,
            span=options.span(workspace, start, end),
            ask=missing_call_prompt.answer
            if options.is_terminal() and not progress_lines
            else None,
            on_progress=progress,
            cancelled=stop.is_set,
        )
    result = {
        "projection": folded.label,
        "timeline": folded.timeline,
        "events": folded.folded,
        "skipped": folded.skipped,
        "failures": folded.failures,
        "keys": folded.keys,
        "changes": folded.changes,
        "seconds": round(folded.seconds, 3),
        "calls": folded.calls,
        "clean_room": folded.room,
    }
    if folded.room is not None and not as_json and not progress_lines:
        progress_display.say(f"Its worker was shut in at {folded.room}.")
    for type_name, count in folded.unhandled.items():
        progress_display.say(f"No handler for {type_name}: {count:,} events skipped.")
    if as_json or progress_lines:
        output.document(result)
    else:
        click.echo(
            f"{folded.label}: {counted(folded.folded, 'event')}, {folded.skipped:,} skipped,"
            f" {counted(folded.failures, 'failure')}, {counted(folded.keys, 'document')},"
            f" {counted(folded.changes, 'change')} ({folded.seconds:.1f} s)"
        )


def _line(progress: FoldProgress) -> None:
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
