"""The state of a fold in a few words, for the header."""

from tui.folding.fold_process import FoldMessage
from tui.state.shown_data import ShownData


def describe_running_fold(message: FoldMessage, *, is_edited: bool) -> str:
    """Return how far a running fold is."""
    what = "folding edited code" if is_edited else "folding"
    if not message.events:
        return "starting the fold …"
    return f"{what} {message.folded:,} of {message.events:,} · c cancel"


def describe_history(data: ShownData) -> str:
    """Return how far the shown history is folded."""
    if data.history is None:
        return "no projection (start with -p FILE)"
    folded, events = data.history.fold_record, data.extent.event_count
    if folded.is_partial:
        return f"folded from {folded.first_offset:,} to {folded.next_offset - 1:,}"
    if folded.next_offset < events:
        return f"folded up to {folded.next_offset:,} of {events:,}"
    failed = f" · {folded.failure_count:,} failed" if folded.failure_count else ""
    skipped = f" · {folded.skipped_events:,} skipped" if folded.skipped_events else ""
    return f"folded {folded.next_offset:,}{failed}{skipped}"
