"""Questions about the log, as tables: what is irregular, what led to what, what was marked.

They need no projection, and are asked as those of `tui.results.projection_queries` are.
"""

from collections.abc import Iterator

from replay.document import paths
from storage.errors import QueryError
from storage.log import causation, irregularities
from storage.log.positions import START
from storage.marks import bookmarks
from tui.results.table import (
    LONGEST,
    MOST,
    Finding,
    Findings,
    at_event,
    cut_note,
    listed,
    of_document,
)
from tui.state.session import Model
from tui.text.sanitize import shortened
from tui.text.timestamps import full

_VALUE = 60
"""Columns of a value that is irregular."""


def irregular(model: Model) -> Iterator[Findings]:
    """What is irregular in the order of the log."""
    found = list(irregularities.find(model.workspace, MOST + 1))
    if not found:
        raise QueryError(
            "No id comes twice, no revision jumps or repeats, and no stream's time runs backwards."
        )
    rows = [
        Finding(
            one.offset,
            (
                at_event(model, one.offset),
                (f"{shortened(one.stream or '–', LONGEST)}  ", ""),
                (f"{one.kind}  ", "failed"),
                (f"{shortened(one.before, _VALUE)} ", "was"),
                (f"→ {shortened(one.found, _VALUE)}", ""),
            ),
        )
        for one in found[:MOST]
    ]
    yield listed("irregular order", rows, note=cut_note(len(found), MOST))


def caused(model: Model, position: int) -> Iterator[Findings]:
    """What led to the event at a position, and what it led to."""
    if position == START:
        raise QueryError("Before the first event there is nothing that led to anything.")
    found = causation.around(model.workspace, position)
    if len(found.tree) < 2:
        raise QueryError("No other event has its correlation id, led to it or came of it.")
    rows = [
        Finding(
            cause.event.offset,
            (
                at_event(model, cause.event.offset),
                ("  " * min(cause.depth, 40) + ("└ " if cause.depth else ""), "muted"),
                (f"{cause.event.type or '–'}", "mark" if cause.event.offset == position else ""),
                (f"  {shortened(cause.event.stream or '–', 40)}", "key"),
                (f"  {full(cause.event.time)}" if cause.event.time else "", "muted"),
            ),
        )
        for cause in found.tree
    ]
    note = "only the nearest are shown" if found.more else ""
    yield listed("causes", rows, note=note)


def bookmarked(model: Model) -> Iterator[Findings]:
    """The places that a person marked."""
    found = bookmarks.kept(model.workspace)
    if not found:
        raise QueryError("There are no bookmarks yet; B marks the place where you are.")
    rows = [
        Finding(
            b.offset,
            (
                at_event(model, b.offset),
                of_document(b.key or "–"),
                (b.note or "–", ""),
                (f"  {b.path}" if b.path and b.path != "$" else "", "muted"),
            ),
            b.key,
            paths.read(b.path) if b.path else None,
            pinned=b.key is not None,
            kept=b.number,
        )
        for b in found
    ]
    yield listed("bookmarks", rows)
