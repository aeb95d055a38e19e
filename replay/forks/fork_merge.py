"""Merges two forks with a common ancestor into a third: both sets of edits, and their conflicts.

Events that both forks inserted at one position are ordered by time, or one fork's before the other's.
If both edited the same event, the edit of the preferred fork is used. If both changed the same
document, its state is the one that folding both sets of edits gives (`joined`). The projection's
`merge(base, left, right)` or a person can choose another state: an event of the type
`refold.Merged` at the end of the timeline then sets it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from replay.compare import history_comparison
from replay.document import diff
from replay.event_fold.fold_run import FoldCallbacks, FoldLimits, FoldRun
from replay.forks import edit_builder, merged_edits
from replay.forks.merged_edits import EventConflict
from replay.forks.warm_worker import WarmWorker
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from replay.projection.projection_reference import Reference
from replay.worker.protocol.constants import MERGED_EVENT_TYPE
from replay.worker_host.gateway_bridge import GatewayBridge
from storage.errors import QueryError, RefoldError
from storage.timelines import fork_store, forked_workspace
from storage.timelines.forked_workspace import ForkedWorkspace, list_fork_values
from storage.workspace.workspace import Workspace

ORDERS = ("time", "a", "b")
"""Which events come first if both forks inserted some at one position: by time, a's, or b's."""


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
    error: str | None = None
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
    forked_workspace, events = merged_edits.merge_edits(a, b, name, order=order, prefer=prefer)
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
        replace(one, merged=answer.get("state"), error=answer.get("error"))
        for one, answer in zip(conflicts, answers, strict=True)
    ]
