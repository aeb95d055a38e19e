"""Documents of tens of kilobytes that are not stored in parts: DuckDB reads 2,048 at a time."""

import random

import pytest

from replay import fold
from replay.event_fold import history_writer
from replay.history.history import History
from replay.query import blame, condition_search, logpoints, series
from replay.worker_host.flow_control import FlowControl
from storage.workspace.workspace_file import SCREEN_MEMORY_BYTES, WorkspaceFile
from tests.support.projection_studio import Studio

EVENTS = 2_500
ITEMS = 1_200
LONG = f"""
def initial(key): return {{"n": 0, "items": ["%032d" % i for i in range({ITEMS})]}}
def apply(state, event):
    state["n"] += 1
    state["items"][event.data["at"]] = "%032d" % event.offset
"""


@pytest.fixture(scope="module")
def places():
    draw = random.Random(11)
    return [draw.randrange(ITEMS) for _ in range(EVENTS)]


@pytest.fixture(scope="module")
def history(tmp_path_factory, places):
    """Of two documents, 100 MB in all, as a screen opens it."""
    studio = Studio(tmp_path_factory.mktemp("long"))
    studio.events(*((f"s{n % 2}", "Put", {"at": at}) for n, at in enumerate(places)))
    studio.file("p.py", LONG)
    folded = studio.fold()
    studio.workspace.close()
    return History(WorkspaceFile(studio.path, memory_bytes=SCREEN_MEMORY_BYTES), folded)


def test_a_state_is_shown(history, places):
    state = history.document_at("s1", 2_001).current
    assert state is not None
    assert f'"{2_001:032d}"' in state.state
    assert state.state.startswith('{"n":1001,')


def test_value_changes_are_found(history, places):
    wanted = places[7]
    path = ("items", str(wanted))
    expected = [n for n, at in enumerate(places) if at == wanted and n % 2]
    for backwards in (False, True):
        found = [
            touch.offset
            for touch in blame.find_value_changes(
                history, "s1", path, after=-1, until=EVENTS, backwards=backwards
            )
        ]
        born = [1] if places[1] != wanted else []  # its birth gave it a value too
        assert found == sorted(born + expected, reverse=backwards)


def test_every_change_comes_with_the_state_before(history):
    changes = list(history.value_changes("s0", (), after=100, until=2_000, backwards=False))
    assert [offset for offset, _, _ in changes] == list(range(102, 2_001, 2))
    assert all(new["n"] == old["n"] + 1 for _, old, new in changes)
    back = history.value_changes("s0", (), after=100, until=2_000, backwards=True)
    assert [offset for offset, _, _ in back] == list(range(2_000, 101, -2))


def test_conditions_and_values_are_asked(history):
    found = [
        hit.offset
        for page in condition_search.find_became_true(history, "state.n > 1000")
        for hit in page.transitions
    ]
    assert found == [2_000, 2_001]
    plot = series.compute_series(history, "sum(state.n)", [1_999], None)
    assert plot is not None


def test_a_logpoint_sees_states_before_and_after(history):
    rows = logpoints.evaluate_logpoints(
        history, ["state.n", "before.n", "data.at"]
    ).rows.to_pylist()
    assert len(rows) == EVENTS
    assert [(row["e0"], row["e1"]) for row in rows[4:7]] == [("3", "2"), ("3", "2"), ("4", "3")]
    some = logpoints.evaluate_logpoints(history, ["state.n"], ["stream = 's1'"], 5).rows
    assert some["offset"].to_pylist() == [1, 3, 5, 7, 9]


def test_a_logpoint_asks_in_stretches_where_all_at_once_is_too_much(
    history, monkeypatch: pytest.MonkeyPatch, places
):
    whole = logpoints.evaluate_logpoints(history, ["state.n", "before.n"]).rows
    arrow, refused = logpoints.fetch_arrow, []

    def little_memory(connection, query, parameters):
        if parameters["end"] - parameters["first"] > 700:
            refused.append(parameters["first"])
            raise logpoints.duckdb.OutOfMemoryException("too much")
        return arrow(connection, query, parameters)

    monkeypatch.setattr(logpoints, "fetch_arrow", little_memory)
    assert logpoints.evaluate_logpoints(history, ["state.n", "before.n"]).rows == whole
    assert len(refused) == 3


def test_states_are_flushed_by_what_they_weigh(studio: Studio, monkeypatch: pytest.MonkeyPatch):
    flushes = []
    flush = history_writer.HistoryWriter.flush
    monkeypatch.setattr(history_writer, "_MAX_PENDING_BYTES", 2_000_000)
    monkeypatch.setattr(fold, "_FIRST_FLUSH_SECONDS", 1_000.0)
    monkeypatch.setattr(
        history_writer.HistoryWriter,
        "flush",
        lambda self, *a, **k: flushes.append(self.pending_rows) or flush(self, *a, **k),
    )
    studio.events(*(("s", "Put", {"at": n % ITEMS}) for n in range(2_000)))
    studio.file("p.py", LONG)
    assert studio.fold().change_count == sum(flushes) == 2_000
    assert max(flushes) <= 1_024  # the first batch, of which nothing is known before


def test_batches_are_short_where_what_comes_back_is_long():
    pace = FlowControl()
    for _ in range(4):
        pace.record_result(1_000, 50_000 * 1_000)
    assert pace.next_batch_size() == 320
    pace.record_result(320, 50_000_000 * 320)
    assert pace.next_batch_size() == 1
