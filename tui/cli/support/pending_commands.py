"""Pending commands on the command line: what the options decide, and the question for the rest."""

from collections.abc import Sequence

import click

from gateway.calls import encode_canonical
from gateway.recording_store import Recording
from gateway.sent_commands import Choice, Choices
from storage.plural import format_count
from tui.cli.support import options, progress_display

_LISTED = 5
"""Most pending commands that a message names."""
_CHOICES = {"s": Choice.RESEND, "d": Choice.DONE, "": Choice.SKIP}


def choices(resend: Sequence[str], done: Sequence[str]) -> Choices:
    """Return the choices of --resend and --mark-done; a terminal asks about the other commands."""
    return Choices(
        frozenset(map(_number, resend)),
        frozenset(map(_number, done)),
        _ask if options.is_terminal() else None,
    )


def sentence(pending: Sequence[Recording]) -> str:
    """Return a message about commands that were not sent again; empty if there are none."""
    if not pending:
        return ""
    named = ", ".join(
        f"call {one.recording_number} ({one.call.port}.{one.call.operation} at {one.offset})"
        for one in pending[:_LISTED]
    )
    more = f" and {len(pending) - _LISTED:,} more" if len(pending) > _LISTED else ""
    return (
        f"{format_count(len(pending), 'pending command')} not sent again, because an earlier recording may have"
        f" sent them: {named}{more}. Send one again with --resend CALL, or mark it as answered with"
        " --mark-done CALL."
    )


def _number(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise click.UsageError(f"{text!r} is not the number of a call; give a number, or all.")
    return int(text)


def _ask(pending: Recording) -> Choice:
    call = pending.call
    with progress_display.hide_bar():
        request = encode_canonical(call.request).decode()
        progress_display.print_message(
            f"At {call.offset:,} {call.key} sends {call.port} {call.operation} {request}. An earlier"
            f" recording may have sent it, and its answer is unknown (call {pending.recording_number})."
        )
        while True:
            answer = click.prompt(
                "s sends it again, d marks it as answered, Enter leaves it pending",
                default="",
                show_default=False,
                err=True,
            )
            if answer.strip().lower() in _CHOICES:
                return _CHOICES[answer.strip().lower()]
