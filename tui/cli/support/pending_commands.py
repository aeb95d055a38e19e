"""Pending commands on the command line: what becomes of each, and how a person is asked about one."""

from collections.abc import Sequence

import click

from gateway.calls import encode_canonical
from gateway.recording_store import Recording
from gateway.sent_commands import Choice, Choices
from storage.plural import format_count
from tui.cli.support import options, progress_display

_LISTED = 5
"""Pending commands that a sentence names."""
_CHOICES = {"s": Choice.RESEND, "d": Choice.DONE, "": Choice.SKIP}


def choices(resend: Sequence[str], done: Sequence[str]) -> Choices:
    """What the options say; whoever sits at a terminal is asked about the others."""
    return Choices(
        frozenset(map(_number, resend)),
        frozenset(map(_number, done)),
        _ask if options.is_terminal() else None,
    )


def sentence(pending: Sequence[Recording]) -> str:
    """What is said of commands that were not sent again; empty where there are none."""
    if not pending:
        return ""
    named = ", ".join(
        f"call {one.recording_number} ({one.call.port}.{one.call.operation} at {one.offset})"
        for one in pending[:_LISTED]
    )
    more = f" and {len(pending) - _LISTED:,} more" if len(pending) > _LISTED else ""
    return (
        f"{format_count(len(pending), 'pending command')} not sent again, because an earlier recording may have"
        f" sent them: {named}{more}. Send one again with --resend CALL, or take it for answered with"
        " --mark-done CALL."
    )


def _number(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise click.UsageError(f"{text!r} is no call's number; give a number, or all.")
    return int(text)


def _ask(pending: Recording) -> Choice:
    call = pending.call
    with progress_display.hide_bar():
        request = encode_canonical(call.request).decode()
        progress_display.print_message(
            f"At {call.offset:,} {call.key} sends {call.port} {call.operation} {request}. An earlier"
            f" recording may have sent it, and nobody saw how it ended (call {pending.recording_number})."
        )
        while True:
            said = click.prompt(
                "s sends it again, d takes it for answered, Enter leaves it pending",
                default="",
                show_default=False,
                err=True,
            )
            if said.strip().lower() in _CHOICES:
                return _CHOICES[said.strip().lower()]
