"""Merges two forks with a common ancestor into a third: both sets of edits, and their conflicts.

Events that both forks inserted at one position are ordered by time, or one fork's before the other's.
If both edited the same event, the edit of the preferred fork is used. If both changed the same
document, its state is the one that folding both sets of edits gives (`joined`). The projection's
`merge(base, left, right)` or a person can choose another state: an event of the type
`refold.Merged` at the end of the timeline then sets it.
"""

import json
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from replay.compare import history_comparison
from replay.compare.alignment import find_common_ancestor
from replay.document import diff
from replay.event_fold.fold_run import FoldCallbacks, FoldLimits, FoldRun
from replay.forks import edit_builder
from replay.forks.warm_worker import WarmWorker
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from replay.projection.projection_reference import Reference
from replay.worker.protocol.constants import MERGED_EVENT_TYPE
from replay.worker_host.gateway_bridge import GatewayBridge
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import QueryError, RefoldError, WorkspaceError
from storage.timelines import edits, fork_store, forked_workspace
from storage.timelines.edits import Edit, EditedEvent
from storage.timelines.fork_store import Fork
from storage.timelines.forked_workspace import ForkedWorkspace, list_fork_values, list_lineage
from storage.timelines.overlay import ForkOverlay
from storage.workspace.workspace import Workspace

ORDERS = ("time", "a", "b")
"""Which events come first if both forks inserted some at one position: by time, a's, or b's."""


@dataclass(frozen=True)
class EventConflict:
    """An event that both forks edited differently."""

    label: Label
    a: EditKind
    b: EditKind
    preferred: str
    """The fork whose edit is used: `a` or `b`."""


@dataclass(frozen=True)
class DocumentConflict:
    """A document that both forks changed differently. States are JSON; None: no document."""

    key: str
    base: str | None
    """Its state on the common ancestor."""
    a: str | None
    """Its state on the first fork."""
    b: str | None
    """Its state on the second fork."""
    joined: str | None
    """Its state after folding both sets of edits."""
    merged: str | None = None
    """The state that the projection's `merge` returned."""
    trouble: str | None = None
    """The error that `merge` raised."""
    resolved: str = "joined"
    """The chosen state: `a`, `b`, `base`, `joined`, `merged`, or a state as JSON."""


@dataclass(frozen=True)
class MergeResult:
    """A merged fork and the conflicts of its two sides."""

    forked_workspace: ForkedWorkspace
    event_conflicts: Sequence[EventConflict]
    document_conflicts: Sequence[DocumentConflict]


def merge_forks(
    a: Workspace,
    b: Workspace,
    name: str,
    reference: Reference,
    fold_timeline: Callable[[Workspace], FoldRecord],
    *,
    order: str = "time",
    prefer: str = "a",
    resolutions: Mapping[str, str] | None = None,
) -> MergeResult:
    """Merge two forks with a common ancestor into a third, and save it.

    `fold_timeline` folds a timeline, and saves it if it is new. `order` is one of `ORDERS`. If both
    forks edited one event, the edit of the fork `prefer` (`a` or `b`) is used. `resolutions` maps a
    document's key to `a`, `b`, `base`, `joined`, `merged`, or a state as JSON.

    Raises `WorkspaceError` if the name is invalid or taken or one fork is based on the other,
    `QueryError` for an invalid resolution, `StaleError` if a fork was edited meanwhile, and the errors
    of the fold.
    """
    forked_workspace, events = _merge_edits(a, b, name, order=order, prefer=prefer)
    base, history_a, history_b = (
        History(side, fold_timeline(side)) for side in (forked_workspace.parent, a, b)
    )
    forked_workspace = _created(forked_workspace, a, b)
    try:
        merged_history = History(forked_workspace, fold_timeline(forked_workspace))
    except RefoldError:
        with suppress(RefoldError):  # another process may have forked or removed it
            fork_store.remove_fork(forked_workspace.main_workspace, forked_workspace.timeline)
        raise
    changed_in = [
        {
            found.key
            for found in history_comparison.compare_histories(base, side).differing_documents
        }
        for side in (history_a, history_b)
    ]
    conflicts = []
    for key in sorted(changed_in[0] & changed_in[1]):
        changes = [
            history.state_at(key, history.fold_record.next_offset - 1)
            for history in (base, history_a, history_b, merged_history)
        ]
        before, left, right, both = (None if c is None else c.state for c in changes)
        if left != right:
            conflicts.append(DocumentConflict(key, before, left, right, both))
    conflicts = _apply_projection_merge(forked_workspace, reference, conflicts)
    choices = resolutions or {}
    unknown_keys = set(choices) - {conflict.key for conflict in conflicts}
    if unknown_keys:
        raise QueryError(
            f"{min(unknown_keys)!r} has no conflict to resolve. Give a document that both forks changed."
        )
    conflicts = [_choose_resolution(conflict, choices.get(conflict.key)) for conflict in conflicts]
    resolved_conflicts = [conflict for conflict in conflicts if conflict.resolved != "joined"]
    if resolved_conflicts:
        forked_workspace = edit_builder.save_fork(
            _append_resolutions(forked_workspace, resolved_conflicts)
        )
        fold_timeline(forked_workspace)
    return MergeResult(forked_workspace, events, conflicts)


def _created(fork: ForkedWorkspace, *sides: Workspace) -> ForkedWorkspace:
    """Save the merged fork; raise `StaleError` if a side was edited since it was read."""
    with fork.main_workspace.writing() as connection:
        for side in sides:
            fork_store.refuse_stale(connection, list_fork_values(side))
        fork_store.create(connection, list_fork_values(fork))
    return forked_workspace.open_fork(fork.main_workspace, fork.timeline)


def resolve_conflict(
    forked_workspace: ForkedWorkspace, conflict: DocumentConflict, choice: str
) -> ForkedWorkspace:
    """Return the merged fork with a document set to the chosen state, not saved yet.

    `choice` is a resolution as in `merge_forks`. Raises `QueryError` for an invalid choice, and
    `WorkspaceError` if other forks are based on the fork.
    """
    return _append_resolutions(forked_workspace, [_choose_resolution(conflict, choice)])


def _merge_edits(
    a: Workspace, b: Workspace, name: str, *, order: str, prefer: str
) -> tuple[ForkedWorkspace, list[EventConflict]]:
    """Return a fork of the common ancestor with the edits of both, not saved yet, and the conflicts.

    If both edited one event, the edit of the fork `prefer` is used. Raises `WorkspaceError` if one of
    the two is based on the other.
    """
    ancestor = find_common_ancestor(a, b)
    if ancestor in (a.timeline, b.timeline):
        forked, whole = (b, a) if ancestor == a.timeline else (a, b)
        raise WorkspaceError(
            f"{forked.timeline} is based on {whole.timeline}, so it has all of its edits already."
            " Nothing needs merging."
        )
    parent = _find_ancestor(a, ancestor)
    one, other = _FlatEdits(a, parent), _FlatEdits(b, parent)
    conflicts = _find_event_conflicts(one, other, prefer)
    lost = {conflict.label for conflict in conflicts}
    if prefer == "a":
        merged_edits = _MergedEdits(one, other, parent, lost)
    else:
        merged_edits = _MergedEdits(other, one, parent, lost)
        order = {"a": "b", "b": "a"}.get(order, order)
    note = f"merge of {a.timeline} and {b.timeline}"
    return edit_builder.create_fork(
        parent, name, merged_edits.build_edits(order), note=note
    ), conflicts


def _append_resolutions(
    forked_workspace: ForkedWorkspace, resolved_conflicts: Sequence[DocumentConflict]
) -> ForkedWorkspace:
    last = forked_workspace.position_map.position_count - 1
    builder = edit_builder.EditBuilder(forked_workspace, forked_workspace.timeline)
    for one in resolved_conflicts:
        state = getattr(one, one.resolved) if one.resolved in _CHOICES else one.resolved
        written = json.dumps({"stream": one.key, "type": MERGED_EVENT_TYPE})[:-1]
        builder.insert(
            last, f'{written}, "data": {{"state": {"null" if state is None else state}}}}}'
        )
    return edit_builder.append_edits(forked_workspace, builder.edits)


_CHOICES = ("a", "b", "base", "joined", "merged")


def _choose_resolution(conflict: DocumentConflict, choice: str | None) -> DocumentConflict:
    if choice is None:
        same = conflict.merged is None or conflict.merged == conflict.joined
        return conflict if same else replace(conflict, resolved="merged")
    if choice == "merged" and conflict.merged is None:
        raise QueryError(
            f"There is no merged state of {conflict.key}, because the projection has no merge function,"
            " or its merge function failed. Choose a, b, base or joined."
        )
    if choice not in _CHOICES:
        try:
            diff.decode_state(choice)
        except (ValueError, RecursionError) as error:
            raise QueryError(
                f"Invalid resolution of {conflict.key}: {choice!r}. Give one of {', '.join(_CHOICES)},"
                " or a state as JSON."
            ) from error
    return replace(conflict, resolved=choice)


def _apply_projection_merge(
    forked_workspace: ForkedWorkspace, reference: Reference, conflicts: Sequence[DocumentConflict]
) -> list[DocumentConflict]:
    """Return the conflicts with the results of the projection's `merge`, if it has that function."""
    if not conflicts:
        return []
    with GatewayBridge(forked_workspace, reference) as gateway_bridge, WarmWorker() as warm_worker:
        run = FoldRun(
            forked_workspace,
            reference,
            forked_workspace.position_map.position_count,
            FoldLimits(),
            FoldCallbacks(),
            gateway_bridge,
        )
        worker_group, ready = warm_worker.prepare_worker(
            run, exact_encoding=False, round_trips_json=False
        )
        if not ready["merges"]:
            return list(conflicts)
        versions = [
            [None if text is None else json.loads(text) for text in (one.base, one.a, one.b)]
            for one in conflicts
        ]
        answers = worker_group.merge_documents(versions)
    return [
        replace(one, merged=answer.get("state"), trouble=answer.get("error"))
        for one, answer in zip(conflicts, answers, strict=True)
    ]


def _find_ancestor(workspace: Workspace, name: str) -> Workspace:
    timelines = [workspace.main_workspace, *workspace.lineage]
    return next(one for one in timelines if one.timeline == name)


@dataclass(frozen=True)
class _PlacedEvent:
    """An event that a fork inserted, or moved from another position of the ancestor."""

    event: EditedEvent
    moved_from: Label | None
    """The label of a moved event on the ancestor; None for an inserted event."""


class _FlatEdits:
    """All edits of a timeline since an ancestor, flattened into edits of the ancestor."""

    def __init__(self, workspace: Workspace, ancestor: Workspace) -> None:
        own_forks = list_lineage(workspace)[len(ancestor.lineage) :]
        edits_found = [edit for forked in own_forks for edit in forked.fork.active_edits]
        self.timeline_edits = [edit for edit in edits_found if not edit.kind.is_about_event]
        events = [edit for edit in edits_found if edit.kind.is_about_event]
        timeline = Fork("flat", ancestor.timeline, Label(-1), "", edits.append_step([], events))
        overlay = ForkOverlay(timeline, ancestor.position_map)
        origins = _moved_from(events)
        self.placed_events: dict[int, list[_PlacedEvent]] = {}
        """The events placed behind a position of the ancestor, in order."""
        moved: dict[Label, tuple[int, EditedEvent]] = {}
        for one in overlay.own_events:
            if one.kind is not EditKind.REPLACE:
                anchor = overlay.parent_position_before(one.position)
                origin = origins.get(one.label)
                self.placed_events.setdefault(anchor, []).append(_PlacedEvent(one.event, origin))
                if origin is not None:
                    moved[origin] = (anchor, one.event)
        self.anchors = {position: ancestor.label_at(position) for position in self.placed_events}
        replaced = {
            one.label: one.event for one in overlay.own_events if one.kind is EditKind.REPLACE
        }
        self.edits_of_ancestor_events: dict[Label, Edit] = {}
        """The edit of each edited event of the ancestor, by its label on the ancestor."""
        for label in map(ancestor.label_at, overlay.hidden_parent_positions):
            if label in moved:
                anchor, event = moved[label]
                edit = Edit(EditKind.MOVE, label, ancestor.label_at(anchor), event=event)
            elif label in replaced:
                edit = Edit(EditKind.REPLACE, label, event=replaced[label])
            else:
                edit = Edit(EditKind.DROP, label)
            self.edits_of_ancestor_events[label] = edit


def _moved_from(events: Sequence[Edit]) -> dict[Label, Label]:
    """Return the original label of each moved event, by its label after any number of moves."""
    found: dict[Label, Label] = {}
    own = {edit.label for edit in events if edit.kind is EditKind.INSERT}
    for edit in events:
        if edit.moved is not None and edit.moved not in own:
            found[edit.label] = found.get(edit.moved, edit.moved)
        elif edit.moved is not None:
            own.add(edit.label)
    return found


def _find_event_conflicts(
    edits_a: _FlatEdits, edits_b: _FlatEdits, prefer: str
) -> list[EventConflict]:
    return [
        EventConflict(label, edit.kind, edits_b.edits_of_ancestor_events[label].kind, prefer)
        for label, edit in edits_a.edits_of_ancestor_events.items()
        if label in edits_b.edits_of_ancestor_events
        and edit != edits_b.edits_of_ancestor_events[label]
    ]


class _MergedEdits:
    """The edits of a merged fork."""

    def __init__(
        self,
        preferred: _FlatEdits,
        second: _FlatEdits,
        parent: Workspace,
        overruled_labels: Set[Label],
    ) -> None:
        """`overruled_labels` are the events for which only the preferred fork's edits count."""
        self._preferred = preferred
        self._second = second
        self._parent = parent
        self._overruled_labels = overruled_labels

    def build_edits(self, order: str) -> list[Edit]:
        hidden = self._second.edits_of_ancestor_events | self._preferred.edits_of_ancestor_events
        merged = [*self._preferred.timeline_edits, *self._second.timeline_edits]
        # A move also hides its event at the old position, so it needs no edit of its own here.
        merged += [edit for edit in hidden.values() if edit.kind is not EditKind.MOVE]
        numbers: dict[int, int] = {}
        anchors = self._preferred.anchors | self._second.anchors
        for position in sorted(anchors):
            after = anchors[position]
            if after.offset not in numbers:
                numbers[after.offset] = edit_builder.find_highest_inserted(
                    self._parent, after.offset
                )
            for placed in self._order_placed_events(position, order):
                numbers[after.offset] += 1
                label = Label(after.offset, numbers[after.offset])
                kind = EditKind.INSERT if placed.moved_from is None else EditKind.MOVE
                merged.append(Edit(kind, label, after, placed.moved_from, placed.event))
                after = label
        return merged

    def _order_placed_events(self, position: int, order: str) -> list[_PlacedEvent]:
        preferred = self._preferred.placed_events.get(position, [])
        second_events = [
            placed
            for placed in self._second.placed_events.get(position, ())
            if placed.moved_from not in self._overruled_labels
        ]
        first, second = (second_events, preferred) if order == "b" else (preferred, second_events)
        # An event that both forks placed here appears once.
        ordered = [*first, *(placed for placed in second if placed not in first)]
        if order == "time":
            ordered.sort(key=lambda placed: placed.event.time or datetime.min.replace(tzinfo=UTC))
        return ordered
