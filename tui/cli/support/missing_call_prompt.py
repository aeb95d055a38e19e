"""Asking a person at the terminal what a call is to be answered that was not recorded."""

from collections.abc import Sequence

import click
import msgspec

from gateway.broker import describe_differences, make_stub_answer
from gateway.calls import Answer, Call, encode_canonical
from gateway.recording_store import Recording
from tui.cli.support import progress_display

_SHOWN = 3


def ask_for_answer(call: Call, near: Sequence[Recording]) -> Answer | None:
    """What they say: JSON, or that of the nearest recording; None where the call is to fail."""
    with progress_display.hide_bar():
        request = encode_canonical(call.request).decode()
        progress_display.print_message(
            f"At {call.offset:,} {call.key} asks {call.port} {call.operation} {request},"
            " which was not recorded."
        )
        for one in near[:_SHOWN]:
            progress_display.print_message(
                f"  nearest: {one.call.operation}, {'; '.join(describe_differences(call, one))}"
            )
        choices = "JSON, n for the nearest answer," if near else "JSON,"
        while True:
            said = click.prompt(
                f"Answer ({choices} Enter lets it fail)", default="", show_default=False, err=True
            )
            if not said:
                return None
            if said == "n" and near:
                return near[0].answer
            try:
                return make_stub_answer(call, msgspec.json.decode(said.encode()))
            except (msgspec.DecodeError, RecursionError) as error:
                progress_display.print_message(f"That is no JSON: {error}.")
