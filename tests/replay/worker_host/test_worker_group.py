"""Several workers give the same history as one, in the same order, with the same numbers."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import CancelledError, ProjectionError
from tests.replay.projection.test_every_kind import EVENTS
from tests.support.projection_kinds import KINDS, Kind
from tests.support.projection_studio import Studio, small_flushes
from tests.support.properties import examples

pytestmark = pytest.mark.worker_contract

TABLES = {
    "history": '"offset", change, previous, key, state, bucket',
    "documents": "ordinal, key, born",
    "routes": '"offset", key',
    "failures": '"offset", key, type, error',
    "printed": '"offset", text',
    "upcasts": '"offset", type, version, data',
    "turns": '"offset", key, invariant, broken, error',
    "folds": "folded, skipped, unhandled, failures, keys, changes, plain",
}
ORDERED = {"history": "change", "documents": "ordinal"}
TRANSFERS = """
    INVARIANTS = {"never in debt": lambda state: state["balance"] >= 0}
    def upcast(event):
        if event.data["n"] % 23 == 5: return event.replace(version=2)
    def key(event):
        if event.data["n"] % 29 == 5: print("asked", event.offset)
        if event.data["n"] % 17 == 5: raise ValueError("no key")
        if event.data["n"] % 13 == 5: return None
        return [event.data["to"], event.data["from"], event.data["to"], "all"]
    def initial(key): return {"balance": 0, "seen": 0}
    def on_Moved(state, event, key):
        state["seen"] += 1
        if event.data["n"] % 7 == 5: print(key, event.offset)
        if event.data["n"] % 11 == 5 and key != "all": raise KeyError(key)
        if event.data["n"] % 19 == 5: return event.DELETED
        sign = (key == event.data["to"]) - (key == event.data["from"])
        state["balance"] += sign * event.data["n"]
        event.data["to"] = "spoiled"
"""


def everything(studio: Any, number: int) -> dict[str, list[Any]]:
    """Return all rows of a projection; in stored order if the table has one."""
    found = {}
    with studio.workspace.reading() as connection:
        for table, columns in TABLES.items():
            order = ORDERED.get(table, "ALL")
            found[table] = connection.execute(
                f"SELECT {columns} FROM {table} WHERE projection = ? ORDER BY {order}", [number]
            ).fetchall()
    return found


def _moved(count: int) -> list[Any]:
    chance = random.Random(count)
    return [
        ("t", chance.choice(("Moved", "Moved", "Moved", "Noise")), {"n": n, **_pair(chance)})
        for n in range(count)
    ]


def _pair(chance: random.Random) -> dict[str, str]:
    return {"from": chance.choice("abcdeü"), "to": chance.choice("abcdeü")}


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_every_kind_gives_the_same_with_several_workers(studio: Studio, kind: Kind):
    reference = kind.write(studio)
    studio.events(*EVENTS)
    alone = studio.fold(reference)
    wanted = everything(studio, alone.projection_number)
    if kind.name == "routing program":
        with pytest.raises(
            ProjectionError, match="routes events itself, so only one worker can fold"
        ):
            studio.fold(reference, workers=3, force=True)
        return
    for workers in (2, 3):
        again = studio.fold(reference, workers=workers, force=True)
        assert everything(studio, again.projection_number) == wanted
    assert len(wanted["history"]) > 50


@pytest.mark.parametrize("workers", [2, 5])
def test_routes_are_shared_in_order(studio: Studio, workers):
    studio.events(*_moved(300))
    studio.file("p.py", TRANSFERS)
    alone = studio.fold()
    wanted = everything(studio, alone.projection_number)
    assert min(map(len, wanted.values())) > 0
    with small_flushes():
        again = studio.fold(workers=workers, force=True)
    assert everything(studio, again.projection_number) == wanted


@settings(
    max_examples=examples(6),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cuts=st.lists(st.integers(1, 199), max_size=3), counts=st.lists(st.integers(1, 4), min_size=4)
)
def test_a_fold_that_continues_with_another_worker_count_gives_the_same(new_studio, cuts, counts):
    studio, alone = new_studio(), new_studio()
    events = _moved(200)
    bounds = [0, *sorted(set(cuts)), 200]
    for one in (studio, alone):
        one.file("p.py", TRANSFERS)
    for (first, last), workers in zip(itertools.pairwise(bounds), counts, strict=False):
        studio.events(*events[first:last])
        folded = studio.fold(workers=workers)
    alone.events(*events)
    assert folded.next_offset == 200
    assert everything(studio, folded.projection_number) == everything(
        alone, alone.fold().projection_number
    )


def test_any_worker_can_meet_a_state_that_json_cannot_hold(studio: Studio):
    studio.events(*[("abcdefgh"[n % 8], "T", {"n": n}) for n in range(64)])
    studio.file(
        "p.py",
        """
        def apply(state, event):
            state["n"] = state.get("n", 0) + 1
            if event.stream == "g": state["set"] = {event.data["n"]}
        """,
    )
    alone = everything(studio, studio.fold().projection_number)
    folded = studio.fold(workers=3, force=True)
    assert folded.round_trips_json is False
    assert everything(studio, folded.projection_number) == alone


@pytest.mark.parametrize("statement", ["os._exit(7)", "while True: pass"])
def test_a_worker_that_dies_loses_no_folded_events(studio: Studio, statement):
    studio.events(*[("abcdefgh"[n % 8], "T", {"n": n}) for n in range(40)])
    studio.file(
        "p.py",
        f"""
        import os
        def apply(state, event):
            if event.data["n"] == 21:
                {statement}
            state["n"] = event.data["n"]
        """,
    )
    with pytest.raises(ProjectionError, match=r"at offset 21 \(T of f\)"):
        studio.fold(workers=3, patience=1)
    assert [o for o, _, _ in studio.changes(studio.found())] == list(range(21))


def test_cancelling_keeps_whole_batches(studio: Studio):
    studio.events(*[("abcdefgh"[n % 8], "T", {"n": n}) for n in range(9000)])
    studio.file("p.py", "def apply(state, event): state['n'] = event.data['n']\n")
    with pytest.raises(CancelledError):
        studio.fold(workers=2, cancelled=lambda: True)
    kept = studio.found().next_offset
    assert 0 < kept <= 9000
    assert len(studio.changes(studio.fold(workers=2))) == 9000
