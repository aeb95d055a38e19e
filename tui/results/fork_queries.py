"""What is said and asked of forks: the line that stays, what differs, both logs, conflicts; as tables."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from replay.compare import call_comparison
from replay.compare.history_comparison import Differing
from storage.coordinates.offset_set import offsets
from storage.coordinates.position_map import Mark
from storage.errors import QueryError
from storage.log.event_log import EventLog, EventRow
from storage.plural import counted
from storage.timelines.workspace_view import Seen
from tui.results.table import (
    MOST,
    Finding,
    Findings,
    at_event,
    cut_note,
    listed,
    of_document,
    shown,
)
from tui.state.parent_comparison import Beside
from tui.state.session import Model
from tui.text.sanitize import shortened
from tui.text.span import Span

if TYPE_CHECKING:
    from replay.forks.fork_merge import Conflict

_AROUND = 3
"""Events that are shown around an edited one."""
_MOST_EDITS = 5_000
_MOST_PATHS = 5
"""Paths that a row tells of a document that differs."""
_EVENT = 36
"""Columns of an event, beside another."""
_VALUE = 60


def banner(workspace: Seen, beside: Beside | None) -> str:
    """What a fork is, in a line."""
    fork = workspace.fork
    said = [
        f"{fork.name}, forked from {fork.parent} at {fork.at}",
        counted(len(fork.active), "edit"),
    ]
    if beside is not None:
        differ = "differs" if beside.documents == 1 else "differ"
        said.append(f"{counted(beside.documents, 'document')} {differ}")
    return " · ".join(said) + (f" · {fork.note}" if fork.note else "")


def differing(model: Model, beside: Beside) -> Iterator[Findings]:
    """The documents that are otherwise than on the parent, and since which event."""
    found = beside.compared.differing
    if not found:
        raise QueryError(f"No document differs between {' and '.join(beside.names)}.")
    side = beside.compared.aligned.b
    at = offsets(side.by(one.coordinate) for one in found[:MOST])

    def fetch(first: int, count: int) -> Sequence[Finding]:
        return [
            _differing_row(model, beside, one, place)
            for one, place in zip(
                found[first : first + count], at[first : first + count], strict=False
            )
        ]

    note = cut_note(len(found), MOST)
    what = f"differs: {' │ '.join(beside.names)}"
    yield Findings(what, at, fetch, None, note, False, offsets(sorted(set(at))))


def _differing_row(model: Model, beside: Beside, one: Differing, place: int) -> Finding:
    told = beside.compared.differences(one.key)
    spans: list[Span] = [at_event(model, place), of_document(one.key)]
    for found in told[:_MOST_PATHS]:
        spans += [
            (f"{found.written}: ", "name"),
            (f"{shortened(shown(found.before), 30)} ", "was"),
            (f"→ {shortened(shown(found.after), 30)}  ", ""),
        ]
    if len(told) > _MOST_PATHS:
        spans.append((f"and {len(told) - _MOST_PATHS:,} more", "muted"))
    if not told:
        spans.append(("only in the order of its members", "muted"))
    return Finding(place, tuple(spans), one.key)


def conflicts(model: Model, found: "Sequence[Conflict]") -> Iterator[Findings]:
    """The documents that both sides of a join changed, each in its own way."""
    end = model.extent.events - 1
    rows = [
        Finding(
            end,
            (
                of_document(one.key),
                (f"a {shortened(one.a or '–', _VALUE)}  ", "was"),
                (f"b {shortened(one.b or '–', _VALUE)}  ", "was"),
                (f"joined {shortened(one.joined or '–', _VALUE)}", ""),
                (f"  merged {shortened(one.merged, _VALUE)}" if one.merged else "", "added"),
                (f"  {one.trouble}" if one.trouble else "", "failed"),
            ),
            one.key,
        )
        for one in found[:MOST]
    ]
    yield listed("changed by both sides; O resolves", rows, note=cut_note(len(found), MOST))


def calls(model: Model, beside: Beside) -> Iterator[Findings]:
    """The calls that would be newly sent, no longer, otherwise, or twice."""
    found = list(islice(call_comparison.compare(beside.parent, beside.history), MOST + 1))
    if not found:
        raise QueryError(f"Both timelines make the same calls: {' and '.join(beside.names)}.")
    rows = []
    for pair in found[:MOST]:
        one = pair.either
        place = 0 if pair.at is None else model.workspace.place(pair.at)
        style = "failed" if one.kind == "command" else ""
        asked = " → ".join(side.asked for side in (pair.a, pair.b) if side is not None)
        spans = (
            at_event(model, place),
            of_document(one.key or "–"),
            (f"{pair.headline:<22}", style),
            (f"{shortened(f'{one.port} {one.operation}', 40)}  ", ""),
            (shortened(asked, _VALUE), "muted"),
        )
        rows.append(Finding(place, spans, one.key))
    what = f"calls: {' │ '.join(beside.names)}"
    yield listed(what, rows, note=cut_note(len(found), MOST))


def both_logs(model: Model, workspace: Seen) -> Iterator[Findings]:
    """The events of a fork and its parent side by side, around what was edited."""
    marks = workspace.marks(0, model.extent.events)
    if not marks:
        raise QueryError(f"No event is otherwise on {workspace.timeline}.")
    places = sorted(
        {
            place
            for mark in marks[:_MOST_EDITS]
            for place in range(mark.place - _AROUND, mark.place + _AROUND + 1)
            if 0 <= place < model.extent.events
        }
    )
    at = offsets(places)

    def fetch(first: int, count: int) -> Sequence[Finding]:
        return _side_by_side(model, workspace, places[first : first + count])

    what = f"events: {workspace.parent.timeline} │ {workspace.timeline}"
    note = cut_note(len(marks), _MOST_EDITS)
    yield Findings(what, at, fetch, None, note, False, offsets(m.place for m in marks))


def _side_by_side(model: Model, workspace: Seen, places: Sequence[int]) -> list[Finding]:
    overlay = workspace.overlay
    theirs = {place: overlay.to_parent(place) for place in places}
    wanted = sorted(place for place in theirs.values() if place is not None)
    left = {row.offset: row for row in EventLog(workspace.parent).rows_at(wanted)}
    right = {row.offset: row for row in model.log.rows_at(places)}
    marks = {mark.place: mark for mark in workspace.marks(places[0], places[-1])}
    found = []
    for place in places:
        there = theirs[place]
        mark = marks.get(place)
        of_parent = None if there is None else left.get(there)
        mine = right.get(place)
        sign = " " if mark is None else "~" if of_parent and mine else "-" if of_parent else "+"
        spans: tuple[Span, ...] = (
            at_event(model, place),
            _event(of_parent, "removed" if sign == "-" else "was" if sign == "~" else ""),
            (f" {sign} ", "mark"),
            _event(mine, "added" if sign == "+" else "changed" if sign == "~" else ""),
            (f"  {_moved(mark)}", "muted"),
        )
        found.append(Finding(place, spans))
    return found


def _event(row: EventRow | None, style: str) -> Span:
    said = "" if row is None else f"{row.stream or '–'}  {row.type or '–'}"
    return f"{shortened(said, _EVENT):<{_EVENT}}", style


def _moved(mark: Mark | None) -> str:
    if mark is None or mark.other is None:
        return ""
    return f"moved to {mark.other}" if mark.leaves_a_gap else f"moved from {mark.other}"
