"""Lanes: marks over the whole log, one line per kind under the strip.

Failures and bookmarks are quick to read. Invariants and watches scan the history, so their results
are cached for each history.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from replay.history import call_decisions
from replay.history.history import History
from replay.query import condition_search, event_filter, invariants
from storage.coordinates.offset_set import Offsets, pack_offsets
from storage.errors import RefoldError
from storage.log import irregularities
from storage.marks import bookmarks, watches
from storage.marks.watches import Watch
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class Lane:
    """The positions of one kind of mark."""

    name: str
    style: str
    """Style of the marks: `broken`, `watch`, `call`, `irregular` or `bookmark`."""
    offsets: "Offsets[int]"


class Lanes:
    """The lanes of a workspace. Query them in a thread; one query waits for the other."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._known: dict[tuple[object, ...], Offsets[int]] = {}

    def query_lanes(self, history: History | None, *, complete: bool) -> list[Lane]:
        """Return the lanes that have marks, except failures.

        Conditions on states are queried only if the fold is complete.
        """
        with self._lock:
            return self._query_lanes(history, complete=complete)

    def _query_lanes(self, history: History | None, *, complete: bool) -> list[Lane]:
        found: list[Lane] = []
        if history is not None and complete:
            found.append(Lane("invariant violations", "broken", self._broken(history)))
        found += [
            Lane(watch.condition, "watch", self._hits(history, watch))
            for watch in watches.list_watches(self._workspace)
            if watch.scope == "events" or (history is not None and complete)
        ]
        if history is not None and history.fold_record.call_count:
            found.append(Lane("outside calls", "call", self._calls(history)))
        found.append(Lane("gaps and duplicates", "irregular", self._irregular()))
        marked = bookmarks.list_bookmarks(self._workspace)
        found.append(Lane("bookmarks", "bookmark", pack_offsets(b.position for b in marked)))
        return [lane for lane in found if len(lane.offsets)]

    def _irregular(self) -> "Offsets[int]":
        key = ("irregular",)
        if key not in self._known:
            known = irregularities.read_summary(self._workspace)
            self._known[key] = (
                pack_offsets() if self._workspace.lineage else pack_offsets(known.offsets)
            )
        return self._known[key]

    def _broken(self, history: History) -> "Offsets[int]":
        key = ("broken", history.fold_record.projection_number, history.fold_record.next_offset)
        if key not in self._known:
            found = invariants.find_violations(
                history, on_error=lambda _: None
            )  # the command `i` shows the error
            self._known[key] = _distinct(one.offset for one in found)
        return self._known[key]

    def _calls(self, history: History) -> "Offsets[int]":
        key = (
            "calls",
            history.fold_record.projection_number,
            history.fold_record.next_offset,
            history.fold_record.call_count,
        )
        if key not in self._known:
            self._known[key] = call_decisions.find_call_offsets(history)
        return self._known[key]

    def _hits(self, history: History | None, watch: Watch) -> "Offsets[int]":
        of = (
            (history.fold_record.projection_number, history.fold_record.next_offset)
            if history
            else ()
        )
        key = (watch, *(() if watch.scope == "events" else of))
        if key not in self._known:
            # The watch may use paths that only another projection has.
            try:
                self._known[key] = self._asked(history, watch)
            except RefoldError:
                self._known[key] = pack_offsets()
        return self._known[key]

    def _asked(self, history: History | None, watch: Watch) -> "Offsets[int]":
        if watch.scope == "events":
            return event_filter.find_offsets(self._workspace, watch.condition)
        if history is None:
            return pack_offsets()
        stretches = condition_search.find_became_true(history, watch.condition)
        return _distinct(hit.offset for stretch in stretches for hit in stretch.transitions)


def strip_columns(found: Iterable[int], ends: Sequence[int]) -> list[int]:
    """Return the indexes of the stretches that contain an offset; `ends` are their last offsets."""
    return sorted({bisect_left(ends, offset) for offset in found})


def _distinct(found: Iterable[int]) -> "Offsets[int]":
    return pack_offsets(sorted(set(found)))
