"""Every query of a history gives the same answers for large documents as for small ones."""

import json
import math
import random
from typing import Any

import pytest

from replay.checks import projection_properties
from replay.compare import code_edit
from replay.document import paths
from replay.document.diff import decode_state, encode_value, find_differences
from replay.history.history import History
from replay.query import blame, condition_search, expressions, logpoints, series
from tests.support.projection_studio import small_flushes

ITEMS = 150

PROJECTION = """
INVARIANTS = {"counted": lambda state: state["count"] == len(state["items"])}
def key(event): return ["all", "small"]
def initial(key):
    if key == "small": return {"count": 0}
    items = {f"item-{n}": {"n": n, "text": "x" * 500, "log": []} for n in range(150)}
    return {"count": len(items), "items": items, "names": {f"name {n}": n for n in range(400)}}
def on_Changed(state, event):
    if "items" in state:
        item = state["items"][event.data["item"]]
        item["n"] = event.data["n"]
        item["log"].append(event.offset)
def on_Named(state, event):
    if "names" in state: state["names"][event.data["item"]] = event.data["n"]
def on_Dropped(state, event):
    if state.get("items", {}).pop(event.data["item"], None): state["count"] -= 1
def on_Lost(state, event):
    if "items" in state: del state["items"][event.data["item"]]
def on_Put(state, event):
    if "items" in state:
        state["count"] += event.data["item"] not in state["items"]
        state["items"][event.data["item"]] = {"n": event.data["n"], "inside": {"a/b": {"text": "y" * 2000}}}
def on_Replaced(state, event):
    return {**state, "names": {"only": event.data["n"]}, "replaced": event.offset}
def on_Failed(state, event):
    for item in state.get("items", {}).values(): item["n"] = -1
    raise ValueError("no")
def on_Deleted(state, event): return event.DELETED
"""

CAREFUL = PROJECTION.replace('"count": len(items)', '"tags": {"a"}, "count": len(items)')


def _events(seed: int, count: int) -> list[Any]:
    draw = random.Random(seed)
    kinds = ["Changed"] * 8 + ["Named", "Dropped", "Lost", "Put", "Put", "Failed", "Other"]
    events: list[Any] = []
    for n in range(count):
        kind = draw.choice(kinds)
        if n in (count // 2, count // 2 + 1):
            kind = "Deleted"
        elif n in (count // 3, 2 * count // 3):
            kind = "Replaced"
        item = f"item-{draw.randrange(ITEMS + 10)}"
        events.append(("s", kind, {"item": item, "n": draw.randrange(9)}))
    return events


def _whole(events: list[Any], source: str) -> list[dict[str, Any]]:
    """The documents after each event, as a few lines of Python fold them."""
    module: dict[str, Any] = {}
    exec(source, module)

    class Event:
        DELETED = object()

    states: dict[str, Any] = {}
    after = []
    for offset, (_, kind, data) in enumerate(events):
        handler = module.get(f"on_{kind}")
        for key in ("all", "small") if handler else ():
            event = Event()
            event.offset, event.data = offset, data  # type: ignore[attr-defined]
            text = states.get(key)
            state = module["initial"](key) if text is None else json.loads(text)
            if "tags" in state:
                state["tags"] = set(state["tags"])
            try:
                returned = handler(state, event)
            except (KeyError, ValueError):
                continue
            states.pop(key, None)
            if returned is not Event.DELETED:
                made = state if returned is None else returned
                states[key] = json.dumps(made, default=sorted)
        after.append(dict(states))
    return [{key: json.loads(text) for key, text in states.items()} for states in after]


@pytest.fixture(
    params=[PROJECTION, pytest.param(CAREFUL, marks=pytest.mark.slow)],
    ids=["plain", "careful"],
    scope="module",
)
def folded(request: Any, new_studio_of_module: Any) -> Any:
    """A history in many flushes, and the documents after each event."""
    events = _events(1, 240)
    studio = new_studio_of_module()
    studio.events(*events)
    studio.file("p.py", request.param)
    with small_flushes():
        history = studio.history()
    assert history.fold_record.part_change_count > ITEMS
    return studio, history, _whole(events, request.param)


def _state(change: Any) -> Any:
    return None if change is None or change.state is None else json.loads(change.state)


def test_every_state_is_what_a_plain_loop_makes(folded: Any) -> None:
    _, history, after = folded
    for offset, documents in enumerate(after):
        for key in ("all", "small"):
            found = history.state_at(key, offset)
            assert json.dumps(_state(found)) == json.dumps(documents.get(key))
            if found is not None and found.state is not None:
                assert encode_value(found.value) == encode_value(decode_state(found.state))


def test_windows_lead_from_one_state_to_the_next_in_both_directions(folded: Any) -> None:
    studio, history, after = folded
    order = [*range(len(after)), *range(len(after) - 1, -1, -1), 5, 200, 7, 150, 149, 148]
    windows: dict[int, Any] = {}
    history = History(studio.workspace, history.fold_record)
    for offset in order:
        first = offset // 64 * 64
        if first not in windows:
            windows[first] = history.changes_by_event(first, first + 63)
        moment = windows[first].get(offset, {}).get("all")
        if moment is None or moment.current.state is None:
            continue
        assert json.dumps(_decode_members(moment.current.value)) == json.dumps(after[offset]["all"])
        before = after[offset - 1].get("all") if offset else None
        old = decode_state(None if before is None else json.dumps(before))
        new = decode_state(json.dumps(after[offset]["all"]))
        assert _sort_differences(moment.differences_to_previous()) == _sort_differences(
            find_differences(old, new)
        )


def _decode_members(value: Any) -> Any:
    """As JSON has it, whatever reads its members late."""
    if isinstance(value, dict):
        return {name: _decode_members(inside) for name, inside in value.items()}
    return json.loads(encode_value(value))


def _sort_differences(found: Any) -> Any:
    return sorted(
        (d.path_text, encode_value(d.before), encode_value(d.after), d.kind.value) for d in found
    )


@pytest.mark.parametrize(
    "path", ["items.item-7.n", "items.item-7", "names.only", "count", "items.item-9.inside", ""]
)
def test_blame_finds_every_event_that_changed_a_value(folded: Any, path: str) -> None:
    _, history, after = folded
    steps = paths.parse_path(path)
    expected = []
    before: Any = paths.ABSENT
    for offset, documents in enumerate(after):
        value = paths.get_value_at(documents["all"], steps) if "all" in documents else paths.ABSENT
        if value is not before and (
            value is paths.ABSENT or before is paths.ABSENT or value != before
        ):
            expected.append(offset)
        before = value
    for backwards in (False, True):
        touches = blame.find_value_changes(
            history, "all", steps, after=-1, until=len(after), backwards=backwards
        )
        assert [t.offset for t in touches] == (expected[::-1] if backwards else expected)


@pytest.mark.parametrize(
    "condition",
    [
        "state.items['item-7'].n > 4",
        "state.items['item-7'].n > state.names.only",
        "NOT (state.items['item-7'].n > 4)",
        "state.items['item-9'] IS NULL",
        "state.replaced > 0 OR state.count < 130",
        "state.items['item-12'].inside['a/b'].text LIKE 'y%'",
    ],
)
def test_conditions_are_true_of_large_states(folded: Any, condition: str) -> None:
    _, history, after = folded
    studio = folded[0]
    with studio.workspace.reading() as connection:
        connection.execute("CREATE TEMP TABLE states (o BIGINT, key VARCHAR, state VARCHAR)")
        rows = [(o, k, json.dumps(s)) for o, d in enumerate(after) for k, s in d.items()]
        connection.executemany("INSERT INTO states VALUES (?, ?, ?)", rows)
        wanted = expressions.compile_condition(connection, condition, long_numbers=False)
        held = connection.execute(
            f"SELECT o, key, {wanted.sql} FROM (SELECT o, key{wanted.columns_sql} FROM"
            ' (SELECT *, o AS "offset" FROM states))'
        ).fetchall()
    true = {(o, k) for o, k, holds in held if holds}
    turned = [
        (o, k)
        for o in range(len(after))
        for k in ("all", "small")
        if (o, k) in true and (o - 1, k) not in true
    ]
    hits = [
        (h.offset, h.key)
        for m in condition_search.find_became_true(history, condition)
        for h in m.transitions
    ]
    assert hits == turned


def test_sums_over_all_documents_and_plots_of_one(folded: Any) -> None:
    _, history, after = folded
    ends = list(range(len(after)))
    totals = series.compute_series(history, "sum(state.count)", ends)
    assert list(totals.last) == [
        pytest.approx(sum(d["count"] for d in documents.values())) for documents in after
    ]
    values = series.compute_series(history, "state.items['item-7'].n", ends, "all")
    expected = [d.get("all", {}).get("items", {}).get("item-7", {}).get("n") for d in after]
    assert [None if math.isnan(v) else v for v in values.last] == expected


def test_logpoints_see_large_states(folded: Any) -> None:
    _, history, after = folded
    found = logpoints.evaluate_logpoints(
        history, ["state.items['item-7'].n", "before.count"], ["type = 'Changed'"]
    )
    for row in found.rows.to_pylist():
        if row["key"] == "all":
            now, before = (
                after[row["offset"]].get("all", {}),
                after[row["offset"] - 1].get("all", {}),
            )
            n = now.get("items", {}).get("item-7", {}).get("n")
            assert row["e0"] == (None if n is None else str(n))
            if row["offset"] and "count" in before:
                assert row["e1"] == str(before["count"])


def test_lists_of_documents_and_what_changed_between(folded: Any) -> None:
    _, history, after = folded
    for offset in (3, 100, 239):
        rows = [row for batch in history.scan_documents_at(offset) for row in batch.to_pylist()]
        assert {row["key"]: json.loads(row["state"]) for row in rows} == after[offset]
    changed = {
        key: (old, new) for key, old, new in history.scan_documents_changed_between(100, 140)
    }
    old, new = changed["all"]
    assert (old and json.loads(old)) == after[100].get("all")
    assert (new and json.loads(new)) == after[140].get("all")


def test_macros_put_large_documents_together(folded: Any) -> None:
    studio, _, after = folded
    with studio.workspace.reading() as connection:
        for offset in (10, 230):
            rows = connection.execute(
                "SELECT key, state FROM state_at('p', ?)", [offset]
            ).fetchall()
            assert {key: json.loads(state) for key, state in rows} == after[offset]
            [(one,)] = connection.execute(
                "SELECT state FROM document_at('p', 'all', ?)", [offset]
            ).fetchall()
            assert json.loads(one) == after[offset]["all"]
        rows = connection.execute(
            "SELECT \"offset\", before, after FROM changes('p', 'all')"
        ).fetchall()
    assert len(rows) > 100
    assert all(json.loads(text) is not None for _, _, text in rows if text is not None)


def test_failures_leave_a_large_document_as_it_was(folded: Any) -> None:
    _, history, _ = folded
    assert {f.type for f in history.failures()} == {"Failed", "Lost", "Changed"}


def test_invariants_of_large_documents(folded: Any) -> None:
    _, history, after = folded
    broken = [b.offset for b in history.invariant_violations() if b.key == "all"]
    expected, held = [], True
    for offset, documents in enumerate(after):
        state = documents.get("all")
        holds = state is None or state["count"] == len(state["items"])
        if held and not holds:
            expected.append(offset)
        held = holds
    assert broken == expected


@pytest.mark.parametrize("source", [PROJECTION, CAREFUL], ids=["plain", "careful"])
def test_a_fold_goes_on_where_it_ended(new_studio: Any, source: str) -> None:
    events = _events(2, 120)
    after = _whole(events, source)
    studio = new_studio()
    studio.file("p.py", source)
    for part in (events[:50], events[50:51], events[51:90], events[90:]):
        studio.events(*part)
        history = studio.history()
    for offset in (20, 49, 50, 51, 70, 119):
        assert _state(history.state_at("all", offset)) == after[offset].get("all")
    assert json.dumps(_state(history.state_at("all", 119))) == json.dumps(after[119]["all"])


def test_several_workers_give_the_same_history(new_studio: Any) -> None:
    events = _events(3, 100)
    both = []
    for workers in (1, 2):
        studio = new_studio()
        studio.events(*events)
        studio.file("p.py", PROJECTION)
        with small_flushes():
            folded = studio.fold(workers=workers)
        with studio.workspace.reading() as connection:
            both.append(connection.execute("FROM parts ORDER BY ALL").fetchall())
        both.append(studio.changes(folded))
    assert both[:2] == both[2:]


def test_an_edit_of_the_code_is_found_in_large_documents(new_studio: Any) -> None:
    events = _events(4, 60)
    studio = new_studio()
    studio.events(*events)
    studio.file("old.py", PROJECTION)
    studio.file(
        "new.py",
        PROJECTION.replace('event.data["n"]\n        item', 'event.data["n"] % 8\n        item'),
    )
    old, new = studio.history("old.py"), studio.history("new.py")
    edit = code_edit.compare_code_edit(old, new)
    first = next((o for o, (_, kind, data) in enumerate(events) if _differ(old, new, o)), None)
    assert [(f.offset, f.key) for f in edit.first_differences] == (
        [] if first is None else [(first, "all")]
    )
    if first is not None:
        assert edit.differences("all", first)


def _differ(old: History, new: History, offset: int) -> bool:
    return _state(old.state_at("all", offset)) != _state(new.state_at("all", offset))


def test_what_handlers_depend_on_is_seen_in_large_documents(new_studio: Any) -> None:
    studio = new_studio()
    studio.events(*_events(5, 40))
    studio.file("same.py", PROJECTION)
    assert (
        projection_properties.check_determinism(studio.workspace, studio.refer("same.py")) is None
    )
    assert projection_properties.check_isolation(studio.workspace, studio.refer("same.py")) is None
    studio.file("p.py", PROJECTION.replace('["n"] = event.data["n"]', '["n"] = hash("x")'))
    found = projection_properties.check_determinism(studio.workspace, studio.refer())
    assert found is not None
    assert found.key == "all"
    assert any(d.path[-1] == "n" for d in found.differences)
    seen = (
        PROJECTION.replace("def key", "SEEN = []\ndef key")
        .replace('"n"] = event.data["n"]', '"n"] = len(SEEN)')
        .replace("def on_Other", "def on_Unknown")
        .replace(
            "def on_Changed(state, event):\n", "def on_Changed(state, event):\n    SEEN.append(1)\n"
        )
    )
    studio.file("p.py", seen)
    found = projection_properties.check_isolation(studio.workspace, studio.refer())
    assert found is not None
    assert found.key == "all"


COPIED = """
def initial(key): return {f"m{m}": {f"n{n}": {"p": "x" * 200, "q": [n]} for n in range(40)} for m in range(9)}
def apply(state, event):
    inner = state["m1"]
    if event.type == "Spread": state["m1"] = {**inner, "x": event.offset}
    if event.type == "Copied": state["m1"] = dict(inner, y=event.offset)
    if event.type == "Sorted": state["m1"] = {name: inner[name] for name in sorted(inner)}
    if event.type == "Moved": state["m2"], state["m1"] = {**inner, "z": event.offset}, {}
    if event.type == "Put": state["m1"]["n1"] = {"p": "new"}
"""


def test_an_object_that_is_replaced_by_a_copy_of_itself_stays_in_parts(new_studio: Any) -> None:
    studio = new_studio()
    studio.file("p.py", COPIED)
    draw = random.Random(5)
    kinds = ["Spread", "Copied", "Sorted", "Put"] * 9 + ["Moved", "Spread", "Put"]
    studio.events(*(("all", kind, {}) for kind in [*kinds, *draw.sample(kinds, 20)]))
    folded = studio.fold()
    with studio.workspace.reading() as connection:
        assert connection.execute("SELECT DISTINCT in_parts FROM history").fetchall() == [(True,)]
    space: dict[str, Any] = {}
    exec(COPIED, space)
    state = space["initial"]("all")
    history = History(studio.workspace, folded)
    for offset, event in enumerate([*kinds, *random.Random(5).sample(kinds, 20)]):
        space["apply"](state, type("Event", (), {"type": event, "offset": offset}))
        found = history.state_at("all", offset)
        assert found is not None
        assert decode_state(found.state) == state, offset
    assert folded.round_trips_json
