"""Forks of documents that are kept in parts: affected documents are folded from parts, or whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from replay import fold
from replay.compare import history_comparison
from replay.query import blame
from storage.workspace import new_workspace
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.fork_bench import Bench

INVENTORY = """
def key(event): return "all"
def initial(key): return {"items": {}, "moves": 0}
def on_Put(state, event):
    item = state["items"].setdefault(event.stream, {"qty": 0, "note": "x" * 200})
    item["qty"] += event.data["by"]
    state["moves"] += 1
def on_Gone(state, event): state["items"].pop(event.stream, None)
def on_Failed(state, event):
    state["moves"] = -1
    raise ValueError("no")
"""


def log(path: Any, rows: list[tuple[int, str, str, int]]) -> Workspace:
    with new_workspace.create_workspace(path) as connection:
        connection.execute("BEGIN")
        for offset, stream, kind, by in rows:
            connection.execute(
                'INSERT INTO events ("offset", stream, type, id, data) VALUES (?, ?, ?, ?, ?)',
                [offset, stream, kind, f"e{offset}", json.dumps({"by": by})],
            )
        connection.execute("COMMIT")
    return WorkspaceFile(path)


@pytest.fixture(params=["plain", "DECIMALS = True"])
def inventory(bench: Bench, request: Any, tmp_path: Any) -> Bench:
    rows = [(n, f"item-{n % 600}", "Put", n % 7) for n in range(1500)]
    rows[1300] = (1300, "item-3", "Gone", 0)
    rows[1400] = (1400, "item-4", "Failed", 0)
    bench.workspace = log(tmp_path / "large.refold", rows)
    bench.code("" if request.param == "plain" else request.param)
    (bench.folder / "p.py").write_text(
        INVENTORY + ("" if request.param == "plain" else f"\n{request.param}\n")
    )
    return bench


def test_a_fork_of_a_large_document_equals_a_fold_of_the_whole_log(
    inventory: Bench, tmp_path: Path
):
    fork = inventory.fork(
        "f",
        lambda made: [
            made.drop(1200),
            made.insert(1250, '{"type": "Put", "stream": "new", "data": {"by": 5}}'),
            made.drop(1300),
            made.replace(1400, '{"type": "Put", "data": {"by": 3}}'),
        ],
    )
    main = inventory.history()
    assert main.fold_record.part_change_count > 0
    history = inventory.history(fork)
    with fork.reading() as connection:
        rows = connection.execute(
            "SELECT stream, type, CAST(data->>'by' AS INTEGER) FROM events ORDER BY \"offset\""
        ).fetchall()
    whole = inventory.history(
        log(tmp_path / "whole.refold", [(n, *row) for n, row in enumerate(rows)])
    )
    end, last = fork.position_map.position_count - 1, len(rows) - 1
    states = [h.state_at("all", at) for h, at in ((history, end), (whole, last))]
    assert [json.loads(change.state or "") for change in states if change] == [
        json.loads(states[1].state or "")
    ] * 2
    before = [h.state_at("all", at) for h, at in ((history, 1199), (main, 1199))]
    assert before[0] is not None
    assert before[1] is not None
    assert before[0].state == before[1].state
    (one,) = history_comparison.compare_histories(main, history).differing_documents
    assert (one.key, str(one.label)) == ("all", "1200")
    told = {
        d.path_text for d in history_comparison.compare_histories(main, history).differences("all")
    }
    assert {"items.new", "items.item-3", "moves"} <= told
    found = list(
        blame.find_value_changes(history, "all", ("items", "new", "qty"), after=-1, until=end)
    )
    assert [(str(fork.label_at(touch.offset)), touch.after) for touch in found] == [("1250+1", 5)]


def test_intermediate_states_of_a_large_document_can_be_read(inventory: Bench):
    fork = inventory.fork("f", lambda made: made.set(1350, "by", "100"))
    history = inventory.history(fork)
    moments = history.changes_by_event(1340, 1360)
    changed = moments[1350]["all"].differences_to_previous()
    assert [(d.path_text, d.after - d.before) for d in changed if "qty" in d.path_text] == [
        ("items.item-150.qty", 100)
    ]
    assert fold.fold_projection(fork, inventory.refer()) == history.fold_record
