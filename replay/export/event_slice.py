"""Writes a slice of the log: the events that reached one document, as JSON lines for `refold load`.

Data is written as stored, with all digits of its numbers; the offsets are those of the whole log.
"""

from pathlib import Path

from replay.history.history import History
from storage.log import event_lines, event_rows


def write_event_slice(history: History, key: str | None, offset: int, file: Path) -> int:
    """Write the events up to an offset that reached a document, and return their number.

    If documents are routed, the event at the offset is always included, because the fault may be that
    it didn't reach the document. Without a key it is the only event.
    """
    is_routed = history.is_routed
    pages = event_lines.iterate_lines_reaching(
        history.workspace,
        history.scope,
        key,
        offset,
        is_routed=is_routed,
        include_last=is_routed or key is None,
    )
    count = 0
    with file.open("w", encoding="utf-8") as out:
        for lines in pages:
            count += len(lines)
            out.write("".join(lines))
    return count


def is_document_reached(history: History, key: str, offset: int) -> bool:
    """Whether an event up to an offset reached the document."""
    return event_rows.has_event_reaching(
        history.workspace, history.scope, key, offset, is_routed=history.is_routed
    )
