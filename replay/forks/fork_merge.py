"""Joining two forks of a common past into a third: both sets of edits, and what they disagree on.

What both inserted at one place is put in order by time, or one's before the other's. Where both
edited the same event, one's edit stands; where both changed the same document, the joined fold says
what it comes to, unless the projection's `merge(base, left, right)` or a person says otherwise: then
an event of the type `refold.Merged` at the end makes the document that.
"""

import json
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from replay.compare import history_comparison
from replay.compare.alignment import nearest
from replay.document import diff
from replay.event_fold.run_context import Means, Run
from replay.forks import edit_builder
from replay.forks.warm_worker import Standing
from replay.history.catalogue import Folded
from replay.history.history import History
from replay.projection.reference import Reference
from replay.worker.protocol.constants import MERGED
from replay.worker_host.gateway_bridge import Calling
from replay.worker_host.worker_process import PATIENCE
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import QueryError, RefoldError, WorkspaceError
from storage.timelines import edits, store
from storage.timelines import workspace_view as seeing
from storage.timelines.edits import Edit, Event
from storage.timelines.overlay import Forked
from storage.timelines.store import Timeline
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace

ORDERS = ("time", "a", "b")
"""What comes first of that which both inserted at one place."""


@dataclass(frozen=True)
class EventConflict:
    """An event that both forks edited, and not in the same way."""

    label: Label
    a: EditKind
    b: EditKind
    taken: str
    """Whose edit stands: `a` or `b`."""


@dataclass(frozen=True)
class Conflict:
    """A document that both forks changed, each in its own way."""

    key: str
    base: str | None
    """What it is without either, as JSON; None where it isn't there."""
    a: str | None
    b: str | None
    joined: str | None
    """What folding both sets of edits gives."""
    merged: str | None = None
    """What the projection's `merge` made of it."""
    trouble: str | None = None
    """What `merge` raised."""
    resolved: str = "joined"
    """Which of them it is on the joined fork."""


@dataclass(frozen=True)
class Joined:
    """A joined fork, and what its sides disagreed on."""

    seen: Seen
    events: Sequence[EventConflict]
    documents: Sequence[Conflict]


def join(
    a: Workspace,
    b: Workspace,
    name: str,
    wanted: Reference,
    fold: Callable[[Workspace], Folded],
    *,
    order: str = "time",
    prefer: str = "a",
    resolutions: Mapping[str, str] | None = None,
) -> Joined:
    """Join two forks of a common past into a third, which is kept.

    `fold` folds a timeline, and keeps it where it is new. `order` is one of `ORDERS`; where both
    edited one event, the edit of the `prefer`red one stands; `resolutions` say of a document's key
    `a`, `b`, `base`, `joined`, `merged`, or what it is as JSON. Raises `WorkspaceError`,
    `QueryError`, and what the fold raises.
    """
    seen, events = _laid_together(a, b, name, order=order, prefer=prefer)
    base, one, other = (History(side, fold(side)) for side in (seen.parent, a, b))
    seen = _created(seen, a, b)
    try:
        joined = History(seen, fold(seen))
    except RefoldError:
        with suppress(RefoldError):  # it may have been forked, or removed, by now
            store.remove(seen.file, seen.timeline)
        raise
    changed_in = [
        {found.key for found in history_comparison.compare(base, side).differing}
        for side in (one, other)
    ]
    found = []
    for key in sorted(changed_in[0] & changed_in[1]):
        changes = [
            history.state(key, history.folded.folded - 1) for history in (base, one, other, joined)
        ]
        before, left, right, both = (None if c is None else c.state for c in changes)
        if left != right:
            found.append(Conflict(key, before, left, right, both))
    found = _merged(seen, wanted, found)
    wishes = resolutions or {}
    strange = set(wishes) - {conflict.key for conflict in found}
    if strange:
        raise QueryError(f"{min(strange)!r} is no document that both forks changed.")
    found = [_resolved(conflict, wishes.get(conflict.key)) for conflict in found]
    settled = [conflict for conflict in found if conflict.resolved != "joined"]
    if settled:
        seen = edit_builder.keep(_with_resolutions(seen, settled))
        fold(seen)
    return Joined(seen, events, found)


def _created(seen: Seen, *sides: Workspace) -> Seen:
    """Keep the joined fork; raise `StaleError` if a side was edited since it was read."""
    with seen.file.writing() as connection:
        for side in sides:
            if isinstance(side, Seen):
                store.refuse_stale(connection, side.lineage)
        store.create(connection, seen.lineage)
    kept = seeing.on(seen.file, seen.timeline)
    return kept if isinstance(kept, Seen) else seen


def resolved(seen: Seen, conflict: Conflict, wish: str) -> Seen:
    """A joined fork on which a document is what a person says, not kept yet; see `join`.

    Raises `QueryError` where it can't be that, and `WorkspaceError` where others stand on the fork.
    """
    return _with_resolutions(seen, [_resolved(conflict, wish)])


def _laid_together(
    a: Workspace, b: Workspace, name: str, *, order: str, prefer: str
) -> tuple[Seen, list[EventConflict]]:
    """The edits of both over what they have in common, as a fork that isn't kept yet.

    Where both edited one event, the edit of the `prefer`red one stands. Raises `WorkspaceError`.
    """
    ancestor = nearest(a, b)
    if ancestor in (a.timeline, b.timeline):
        forked, whole = (b, a) if ancestor == a.timeline else (a, b)
        raise WorkspaceError(
            f"{forked.timeline} stands on {whole.timeline}, so it has all of its edits already."
        )
    parent = _ancestor(a, ancestor)
    one, other = _Flat(a, parent), _Flat(b, parent)
    conflicts = _conflicts(one, other, prefer)
    lost = {conflict.label for conflict in conflicts}
    if prefer == "a":
        made = _Made(one, other, parent, lost)
    else:
        made = _Made(other, one, parent, lost)
        order = {"a": "b", "b": "a"}.get(order, order)
    note = f"{a.timeline} and {b.timeline} joined"
    return edit_builder.fork(parent, name, made.edits(order), note=note), conflicts


def _with_resolutions(seen: Seen, settled: Sequence[Conflict]) -> Seen:
    last = seen.overlay.events - 1
    made = edit_builder.Editing(seen, seen.timeline)
    for one in settled:
        state = getattr(one, one.resolved) if one.resolved in _CHOICES else one.resolved
        written = json.dumps({"stream": one.key, "type": MERGED})[:-1]
        made.insert(last, f'{written}, "data": {{"state": {"null" if state is None else state}}}}}')
    return edit_builder.edited(seen, made.edits)


_CHOICES = ("a", "b", "base", "joined", "merged")


def _resolved(conflict: Conflict, wanted: str | None) -> Conflict:
    if wanted is None:
        same = conflict.merged is None or conflict.merged == conflict.joined
        return conflict if same else replace(conflict, resolved="merged")
    if wanted == "merged" and conflict.merged is None:
        raise QueryError(f"Nothing was merged for {conflict.key}; the projection has no merge.")
    if wanted not in _CHOICES:
        try:
            diff.decode(wanted)
        except (ValueError, RecursionError) as error:
            raise QueryError(
                f"{conflict.key} is resolved as one of {', '.join(_CHOICES)}, or as JSON."
            ) from error
    return replace(conflict, resolved=wanted)


def _merged(seen: Seen, wanted: Reference, found: Sequence[Conflict]) -> list[Conflict]:
    """The conflicts with what the projection's own `merge` makes of them."""
    if not found:
        return []
    with Calling(seen, wanted) as calling, Standing() as standing:
        run = Run(seen, wanted, seen.overlay.events, Means(1, PATIENCE, None), None, bool, calling)
        crew, ready = standing.crew(run, careful=False, plain=False)
        if not ready["merges"]:
            return list(found)
        versions = [
            [None if text is None else json.loads(text) for text in (one.base, one.a, one.b)]
            for one in found
        ]
        said = crew.merged(versions)
    return [
        replace(one, merged=answer.get("state"), trouble=answer.get("error"))
        for one, answer in zip(found, said, strict=True)
    ]


def _ancestor(workspace: Workspace, name: str) -> Workspace:
    while workspace.timeline != name and isinstance(workspace, Seen):
        workspace = workspace.parent
    return workspace


@dataclass(frozen=True)
class _Put:
    """An event that a fork has somewhere: a new one, or one of the ancestor's that was moved."""

    event: Event
    origin: Label | None
    """What a moved event is called on the ancestor."""


class _Flat:
    """All edits of a timeline since an ancestor, laid over that as one."""

    def __init__(self, workspace: Workspace, ancestor: Workspace) -> None:
        found: list[Edit] = []
        while isinstance(workspace, Seen) and workspace.timeline != ancestor.timeline:
            found = [*workspace.fork.active, *found]
            workspace = workspace.parent
        self.of_all = [edit for edit in found if not edit.kind.of_events]
        events = [edit for edit in found if edit.kind.of_events]
        timeline = Timeline("flat", ancestor.timeline, Label(-1), "", edits.appended([], events))
        overlay = Forked(timeline, ancestor.overlay)
        origins = _origins(events)
        self.put: dict[int, list[_Put]] = {}
        """What is behind a place of the ancestor's, in order."""
        moved: dict[Label, tuple[int, Event]] = {}
        for one in overlay.own:
            if one.kind is not EditKind.REPLACE:
                anchor = overlay.before(one.place)
                origin = origins.get(one.label)
                self.put.setdefault(anchor, []).append(_Put(one.event, origin))
                if origin is not None:
                    moved[origin] = (anchor, one.event)
        self.anchors = {place: ancestor.label(place) for place in self.put}
        replaced = {one.label: one.event for one in overlay.own if one.kind is EditKind.REPLACE}
        self.hidden: dict[Label, Edit] = {}
        """What was done to events of the ancestor's, each by its name there."""
        for label in map(ancestor.label, overlay.hidden):
            if label in moved:
                anchor, event = moved[label]
                edit = Edit(EditKind.MOVE, label, ancestor.label(anchor), event=event)
            elif label in replaced:
                edit = Edit(EditKind.REPLACE, label, event=replaced[label])
            else:
                edit = Edit(EditKind.DROP, label)
            self.hidden[label] = edit


def _origins(events: Sequence[Edit]) -> dict[Label, Label]:
    """What moved events were called in the beginning, however often they were moved."""
    found: dict[Label, Label] = {}
    own = {edit.label for edit in events if edit.kind is EditKind.INSERT}
    for edit in events:
        if edit.moved is not None and edit.moved not in own:
            found[edit.label] = found.get(edit.moved, edit.moved)
        elif edit.moved is not None:
            own.add(edit.label)
    return found


def _conflicts(one: _Flat, other: _Flat, prefer: str) -> list[EventConflict]:
    return [
        EventConflict(label, edit.kind, other.hidden[label].kind, prefer)
        for label, edit in one.hidden.items()
        if label in other.hidden and edit != other.hidden[label]
    ]


class _Made:
    """The edits of a joined fork."""

    def __init__(self, one: _Flat, other: _Flat, parent: Workspace, lost: Set[Label]) -> None:
        """Of the events that are `lost` to the first fork, the second one's edits don't count."""
        self._one = one
        self._other = other
        self._parent = parent
        self._lost = lost

    def edits(self, order: str) -> list[Edit]:
        hidden = self._other.hidden | self._one.hidden
        made = [*self._one.of_all, *self._other.of_all]
        # A move hides its event itself.
        made += [edit for edit in hidden.values() if edit.kind is not EditKind.MOVE]
        numbers: dict[int, int] = {}
        anchors = self._one.anchors | self._other.anchors
        for place in sorted(anchors):
            after = anchors[place]
            if after.offset not in numbers:
                numbers[after.offset] = edit_builder.highest_label(self._parent, after.offset)
            for put in self._in_order(place, order):
                numbers[after.offset] += 1
                label = Label(after.offset, numbers[after.offset])
                kind = EditKind.INSERT if put.origin is None else EditKind.MOVE
                made.append(Edit(kind, label, after, put.origin, put.event))
                after = label
        return made

    def _in_order(self, place: int, order: str) -> list[_Put]:
        mine = self._one.put.get(place, [])
        theirs = [put for put in self._other.put.get(place, ()) if put.origin not in self._lost]
        first, second = (theirs, mine) if order == "b" else (mine, theirs)
        # What both have from somewhere is there once.
        both = [*first, *(put for put in second if put not in first)]
        if order == "time":
            both.sort(key=lambda put: put.event.time or datetime.min.replace(tzinfo=UTC))
        return both
