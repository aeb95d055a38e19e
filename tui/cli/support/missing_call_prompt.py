"""The question at the terminal how to answer a call that was not recorded."""

from collections.abc import Sequence

import click
import msgspec

from gateway.call_answers import make_stub_answer
from gateway.calls import Answer, Call, encode_canonical
from gateway.recording_store import Recording
from gateway.similar_recordings import describe_differences
from tui.cli.support import progress_display

_SHOWN = 3


def ask_for_answer(call: Call, near: Sequence[Recording]) -> Answer | None:
    """Ask for an answer and return it: JSON, or the nearest recording's; None lets the call fail."""
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
            text = click.prompt(
                f"Answer ({choices} Enter lets it fail)", default="", show_default=False, err=True
            )
            if not text:
                return None
            if text == "n" and near:
                return near[0].answer
            try:
                return make_stub_answer(call, msgspec.json.decode(text.encode()))
            except (msgspec.DecodeError, RecursionError) as error:
                progress_display.print_message(f"Invalid JSON: {error}.")
