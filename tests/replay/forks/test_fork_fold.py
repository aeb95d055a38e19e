"""For any edits, the history of a fork equals that of a fold of the whole edited log."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay import fold
from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from replay.forks.warm_worker import WarmWorker
from replay.history.history import History
from replay.projection import projection_reference
from replay.query import condition_search, running_aggregates
from storage.log.event_log import EventLog
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace import new_workspace
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.properties import examples

STREAMS = "abcd"
BY_STREAM = """
def initial(key): return {"total": 0, "seen": []}
def on_Added(state, event):
    state["total"] += event.data["by"]
    state["seen"] = (state["seen"] + [event.id])[-2:]
def on_Dropped(state, event): return event.DELETED
def on_Failed(state, event):
    state["total"] = -1
    raise ValueError("no such thing")
def on_Printed(state, event): print("hello", event.id)
INVARIANTS = {"small": lambda state: state["total"] < 7}
"""
ROUTED = (
    BY_STREAM
    + """
def key(event):
    if event.data["by"] == 5: print("asked for", event.id)
    if event.data.get("wrong"): raise KeyError("nowhere")
    return event.data.get("to", event.stream)
"""
)
CAREFUL = "from decimal import Decimal\n" + BY_STREAM.replace('"total": 0', '"total": Decimal(0)')

KINDS = {"streams": BY_STREAM, "routed": ROUTED, "careful": CAREFUL}

events = st.lists(
    st.fixed_dictionaries(
        {
            "stream": st.sampled_from(STREAMS),
            "type": st.sampled_from(
                ["Added", "Added", "Added", "Dropped", "Failed", "Printed", "Odd"]
            ),
            "data": st.fixed_dictionaries(
                {"by": st.integers(-2, 5)},
                optional={
                    "to": st.lists(st.sampled_from("abxy"), max_size=2, unique=True),
                    "wrong": st.just(True),
                },
            ),
        }
    ),
    min_size=3,
    max_size=25,
)
wishes = st.lists(
    st.tuples(
        st.sampled_from(["drop", "replace", "insert", "move", "append"]),
        st.integers(0, 30),
        st.integers(-1, 30),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=5,
)


def made(path: Path, rows: list[dict[str, Any]]) -> Workspace:
    """Return a workspace with these events at the offsets that they name."""
    with new_workspace.create_workspace(path) as connection:
        connection.execute("BEGIN")
        for row in rows:
            connection.execute(
                'INSERT INTO events ("offset", stream, type, id, data) VALUES (?, ?, ?, ?, ?)',
                [row["offset"], row["stream"], row["type"], row["id"], row["data"]],
            )
        connection.execute("COMMIT")
    return WorkspaceFile(path)


def edited(workspace: Workspace, name: str, edits: list[Any], spare: list[Any]) -> ForkedWorkspace:
    """Return a fork with those of these edits that are possible."""
    editing_ = EditBuilder(workspace, name)
    places = EventLog(workspace).read_extent().event_count
    touched: set[int] = set()
    for what, one, other, number in edits:
        place, after = one % places, min(other, places - 1)
        text = json.dumps(spare[number % len(spare)])
        log = EventLog(workspace)
        if what == "append":
            editing_.append(text) if log.read_event(places - 1) else None
            continue
        there = log.read_event(after) is not None or after < 0
        if what == "insert":
            editing_.insert(after, text) if there else None
        elif log.read_event(place) is None or place in touched:
            continue
        elif what == "drop":
            editing_.drop(place)
            touched.add(place)
        elif what == "replace":
            editing_.replace(place, text)
            touched.add(place)
        elif there and after not in (place, place - 1):
            editing_.move(place, after)
            touched.add(place)
    return edit_builder.save_fork(edit_builder.create_fork(workspace, name, editing_.edits))


def summarize_history(history: History, places: Sequence[int]) -> dict[str, Any]:
    """Return the content of a history with renumbered events, because a drop leaves a gap."""
    numbers = {place: number for number, place in enumerate(places)}
    with history.workspace.reading() as connection:
        changes = connection.execute(
            'SELECT "offset", key, state FROM history WHERE projection = ? AND timeline = ?'
            ' ORDER BY "offset", key',
            [history.fold_record.projection_number, history.fold_record.timeline],
        ).fetchall()
    middle = places[len(places) // 2] if places else -1
    last = places[-1] if places else -1
    states = {key: history.state_at(key, middle) for key in "abcdxy"}
    return {
        "changes": [(numbers[at], *rest) for at, *rest in changes],
        "states": {
            k: None if c is None else (numbers[c.offset], c.state) for k, c in states.items()
        },
        "documents": [
            (d.ordinal, d.key, numbers[d.created_at]) for d in history.documents(0, 1000)
        ],
        "born": [history.count_documents_at(place) for place in places],
        "failures": [(numbers[f.offset], f.key, f.error) for f in history.failures()],
        "printed": [(numbers[at], text) for at, text in history.printed_output()],
        "breaks": [
            (
                b.invariant,
                numbers[b.offset],
                b.key,
                b.until if b.until is None else numbers[b.until],
            )
            for b in history.invariant_violations()
        ],
        "unhandled": dict(history.fold_record.unhandled_by_type),
        "counts": (
            history.fold_record.document_count,
            history.fold_record.change_count,
            history.fold_record.failure_count,
        ),
        "window": {
            numbers[offset]: {
                key: (m.current and m.current.state, m.previous and m.previous.state)
                for key, m in at.items()
            }
            for offset, at in history.changes_by_event(0, last).items()
        },
        "hits": [
            (numbers[hit.offset], hit.key)
            for stretch in condition_search.find_became_true(history, "state.total > 3")
            for hit in stretch.transitions
        ],
        "sums": [
            (numbers[at], holds)
            for stretch in running_aggregates.scan_aggregate_transitions(
                history, "sum(state.total) > 5"
            )
            for at, holds in stretch.transitions
        ],
        "all": [
            sorted(
                (r["key"], r["state"]) for b in history.scan_documents_at(at) for r in b.to_pylist()
            )
            for at in places[::5]
        ],
        "changed": sorted(history.scan_documents_changed_between(-1, last)),
    }


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow) if k != "streams" else k for k in KINDS]
)
@settings(max_examples=examples(6), deadline=None, suppress_health_check=list(HealthCheck))
@given(log=events, first=wishes, second=wishes, spare=events)
def test_a_fork_fold_equals_a_fold_of_the_whole_edited_log(
    tmp_path_factory, kind, log, first, second, spare
):
    folder = tmp_path_factory.mktemp("fork")
    (folder / "p.py").write_text(KINDS[kind])
    reference = projection_reference.parse_reference("p.py", sys.executable, folder)
    rows = [
        {**event, "offset": n, "id": f"e{n}", "data": json.dumps(event["data"])}
        for n, event in enumerate(log)
    ]
    workspace = made(folder / "log.refold", rows)
    with WarmWorker() as standing:
        forked: Workspace = workspace
        for name, edits in (("one", first), ("two", second)):
            forked = edited(forked, name, edits, spare)
            compare_with_whole(folder, forked, reference, kind, standing)


def compare_with_whole(
    folder: Path,
    forked: Workspace,
    reference: projection_reference.Reference,
    kind: str,
    standing: WarmWorker,
) -> None:
    with forked.reading() as connection:
        found = connection.execute(
            'SELECT "offset", stream, type, id, data FROM events ORDER BY "offset"'
        ).fetchall()
    columns = ("offset", "stream", "type", "id", "data")
    rows = [dict(zip(columns, row, strict=True)) for row in found]
    dense = [{**row, "offset": number} for number, row in enumerate(rows)]
    whole = made(folder / f"{forked.timeline}.refold", dense)
    expected = summarize_history(
        History(whole, fold.fold_projection(whole, reference)), range(len(rows))
    )
    history = History(forked, fold.fold_projection(forked, reference, warm_worker=standing))
    got = summarize_history(history, [row["offset"] for row in rows])
    for what in expected:
        assert got[what] == expected[what], what
