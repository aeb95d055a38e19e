"""The what-if banner, and tables about forks: differing documents and calls, events, conflicts."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from replay.compare import call_comparison
from replay.compare.history_comparison import DifferingDocument
from storage.coordinates.event_labels import format_label
from storage.coordinates.offset_set import pack_offsets
from storage.coordinates.position_map import EditMark
from storage.errors import QueryError
from storage.log.event_log import EventLog, EventSummary
from storage.plural import format_count
from storage.timelines.forked_workspace import ForkedWorkspace
from tui.results.table import (
    MAX_ROWS,
    ResultRow,
    ResultTable,
    document_span,
    event_span,
    table_of_rows,
    truncation_note,
    value_text,
)
from tui.state.parent_comparison import ParentComparison
from tui.state.shown_data import ShownData
from tui.text.sanitize import shorten
from tui.text.span import Span

if TYPE_CHECKING:
    from replay.forks.fork_merge import DocumentConflict

_AROUND = 3
"""Events shown before and after an edited one."""
_MOST_EDITS = 5_000
_MOST_PATHS = 5
"""Differing paths shown in the row of a document."""
_EVENT = 36
"""Columns of an event in the side-by-side table."""
_VALUE = 60


def what_if_banner(workspace: ForkedWorkspace, beside: ParentComparison | None) -> str:
    """Return the line that describes a fork: name, parent, edits, differing documents, note."""
    fork = workspace.fork
    parts = [
        f"{fork.name}, forked from {fork.parent} at {format_label(fork.at)}",
        format_count(len(fork.active_edits), "edit"),
    ]
    if beside is not None:
        differ = "differs" if beside.differing_documents == 1 else "differ"
        parts.append(f"{format_count(beside.differing_documents, 'document')} {differ}")
    return " · ".join(parts) + (f" · {fork.note}" if fork.note else "")


def differing_documents(data: ShownData, beside: ParentComparison) -> Iterator[ResultTable]:
    """Return the documents that differ from the parent, each at its first differing event."""
    found = beside.comparison.differing_documents
    if not found:
        raise QueryError(f"No document differs between {' and '.join(beside.names)}.")
    side = beside.comparison.aligned_timelines.b
    at = pack_offsets(side.position_before(one.coordinate) for one in found[:MAX_ROWS])

    def fetch(first: int, count: int) -> Sequence[ResultRow]:
        return [
            _differing_row(data, beside, one, place)
            for one, place in zip(
                found[first : first + count], at[first : first + count], strict=False
            )
        ]

    note = truncation_note(len(found), MAX_ROWS)
    what = f"different documents: {' │ '.join(beside.names)}"
    yield ResultTable(what, at, fetch, None, note, False, pack_offsets(sorted(set(at))))


def _differing_row(
    data: ShownData, beside: ParentComparison, one: DifferingDocument, place: int
) -> ResultRow:
    differences = beside.comparison.differences(one.key)
    spans: list[Span] = [event_span(data, place), document_span(one.key)]
    for found in differences[:_MOST_PATHS]:
        spans += [
            (f"{found.path_text}: ", "name"),
            (f"{shorten(value_text(found.before), 30)} ", "was"),
            (f"→ {shorten(value_text(found.after), 30)}  ", ""),
        ]
    if len(differences) > _MOST_PATHS:
        spans.append((f"and {len(differences) - _MOST_PATHS:,} more", "muted"))
    if not differences:
        spans.append(("only the order of members differs", "muted"))
    return ResultRow(place, tuple(spans), one.key)


def merge_conflicts(data: ShownData, found: "Sequence[DocumentConflict]") -> Iterator[ResultTable]:
    """Return the documents that both merged forks changed differently."""
    end = data.extent.event_count - 1
    rows = [
        ResultRow(
            end,
            (
                document_span(one.key),
                (f"a {shorten(one.a or '–', _VALUE)}  ", "was"),
                (f"b {shorten(one.b or '–', _VALUE)}  ", "was"),
                (f"joined {shorten(one.joined or '–', _VALUE)}", ""),
                (f"  merged {shorten(one.merged, _VALUE)}" if one.merged else "", "added"),
                (f"  {one.error}" if one.error else "", "failed"),
            ),
            one.key,
        )
        for one in found[:MAX_ROWS]
    ]
    yield table_of_rows(
        "merge conflicts · O resolve", rows, note=truncation_note(len(found), MAX_ROWS)
    )


def differing_calls(data: ShownData, beside: ParentComparison) -> Iterator[ResultTable]:
    """Return the outside calls that differ from the parent: added, removed, changed or sent twice."""
    found = list(islice(call_comparison.compare_calls(beside.parent, beside.history), MAX_ROWS + 1))
    if not found:
        raise QueryError(f"{' and '.join(beside.names)} make the same outside calls.")
    rows = []
    for pair in found[:MAX_ROWS]:
        one = pair.either
        place = 0 if pair.label is None else data.workspace.position_of(pair.label)
        style = "failed" if one.kind == "command" else ""
        asked = " → ".join(side.short_request for side in (pair.a, pair.b) if side is not None)
        spans = (
            event_span(data, place),
            document_span(one.key or "–"),
            (f"{pair.headline:<22}", style),
            (f"{shorten(f'{one.port} {one.operation}', 40)}  ", ""),
            (shorten(asked, _VALUE), "muted"),
        )
        rows.append(ResultRow(place, spans, one.key))
    what = f"different calls: {' │ '.join(beside.names)}"
    yield table_of_rows(what, rows, note=truncation_note(len(found), MAX_ROWS))


def side_by_side_events(data: ShownData, workspace: ForkedWorkspace) -> Iterator[ResultTable]:
    """Return the events of a fork and its parent side by side, around the edits."""
    marks = workspace.edit_marks(0, data.extent.event_count)
    if not marks:
        raise QueryError(
            f"No event differs between {workspace.parent.timeline} and {workspace.timeline}."
        )
    places = sorted(
        {
            place
            for mark in marks[:_MOST_EDITS]
            for place in range(mark.position - _AROUND, mark.position + _AROUND + 1)
            if 0 <= place < data.extent.event_count
        }
    )
    at = pack_offsets(places)

    def fetch(first: int, count: int) -> Sequence[ResultRow]:
        return _side_by_side(data, workspace, places[first : first + count])

    what = f"events: {workspace.parent.timeline} │ {workspace.timeline}"
    note = truncation_note(len(marks), _MOST_EDITS)
    yield ResultTable(what, at, fetch, None, note, False, pack_offsets(m.position for m in marks))


def _side_by_side(
    data: ShownData, workspace: ForkedWorkspace, places: Sequence[int]
) -> list[ResultRow]:
    overlay = workspace.position_map
    theirs = {place: overlay.to_parent(place) for place in places}
    wanted = sorted(place for place in theirs.values() if place is not None)
    left = {row.offset: row for row in EventLog(workspace.parent).read_events_at(wanted)}
    right = {row.offset: row for row in data.log.read_events_at(places)}
    marks = {mark.position: mark for mark in workspace.edit_marks(places[0], places[-1])}
    found = []
    for place in places:
        there = theirs[place]
        mark = marks.get(place)
        of_parent = None if there is None else left.get(there)
        mine = right.get(place)
        sign = " " if mark is None else "~" if of_parent and mine else "-" if of_parent else "+"
        spans: tuple[Span, ...] = (
            event_span(data, place),
            _event(of_parent, "removed" if sign == "-" else "was" if sign == "~" else ""),
            (f" {sign} ", "mark"),
            _event(mine, "added" if sign == "+" else "changed" if sign == "~" else ""),
            (f"  {_moved(mark)}", "muted"),
        )
        found.append(ResultRow(place, spans))
    return found


def _event(row: EventSummary | None, style: str) -> Span:
    said = "" if row is None else f"{row.stream or '–'}  {row.type or '–'}"
    return f"{shorten(said, _EVENT):<{_EVENT}}", style


def _moved(mark: EditMark | None) -> str:
    if mark is None or mark.counterpart is None:
        return ""
    return f"moved to {mark.counterpart}" if mark.leaves_gap else f"moved from {mark.counterpart}"
