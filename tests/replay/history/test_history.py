"""Every query of a history gives the answer of a naive model, at every position."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.document import paths
from replay.document.diff import decode_state, find_differences, is_same_value
from replay.document.paths import ABSENT
from replay.history.history import History
from tests.support.projection_studio import Studio
from tests.support.properties import examples

EVENTS = 60
KEYS = "abcd"


def _event(n: int) -> tuple[str, str, dict[str, int]]:
    kind = "Gone" if n % 11 == 10 else "Same" if n % 5 == 4 else "T"
    return (KEYS[n * n % 3], kind, {"n": n})


def _model() -> list[dict[str, Any]]:
    """All documents after each event."""
    moments: list[dict[str, Any]] = []
    documents: dict[str, Any] = {}
    for n in range(EVENTS):
        stream, kind, _ = _event(n)
        for key in (stream, "all"):
            if kind == "Gone":
                documents.pop(key, None)
            elif kind == "T":
                documents = {**documents, key: {"last": n, "of": stream}}
            elif key not in documents:
                documents = {**documents, key: {}}
        moments.append(dict(documents))
    return moments


MODEL = _model()
POSITIONS = st.integers(-1, EVENTS - 1)
ALL_KEYS = st.sampled_from([*KEYS, "all"])


def at(position: int) -> dict[str, Any]:
    return MODEL[position] if position >= 0 else {}


def changed(key: str) -> list[int]:
    return [n for n in range(EVENTS) if at(n).get(key) != at(n - 1).get(key)]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    studio = Studio(tmp_path_factory.mktemp("travel"))
    studio.events(*map(_event, range(EVENTS)))
    studio.file(
        "p.py",
        """
        def key(event): return [event.stream, "all"]
        def on_T(state, event): return {"last": event.data["n"], "of": event.stream}
        def on_Same(state, event): return None
        def on_Gone(state, event): return event.DELETED
        """,
    )
    return studio.history()


@settings(deadline=None, max_examples=examples(60))
@given(key=ALL_KEYS, position=POSITIONS)
def test_the_state_of_a_key_and_what_its_last_change_did(history: History, key, position):
    moment = history.document_at(key, position)
    state = (
        None
        if moment.current is None or moment.current.state is None
        else json.loads(moment.current.state)
    )
    assert state == at(position).get(key)
    before = [n for n in changed(key) if n <= position]
    assert moment.changed_at == (before[-1] if before else None)
    if before:
        n = before[-1]
        old, new = at(n - 1).get(key, ABSENT), at(n).get(key, ABSENT)
        assert moment.differences_to_previous() == find_differences(old, new)


@settings(deadline=None, max_examples=examples(60))
@given(key=ALL_KEYS, position=POSITIONS)
def test_the_next_and_the_previous_change(history: History, key, position):
    after = [n for n in changed(key) if n > position]
    before = [n for n in changed(key) if n < position]
    assert history.next_change(key, position) == (after[0] if after else None)
    assert history.previous_change(key, position) == (before[-1] if before else None)
    assert history.keys_changed_at(position) == sorted(
        k for k in [*KEYS, "all"] if position in changed(k)
    )


@settings(deadline=None, max_examples=examples(40))
@given(one=POSITIONS, other=POSITIONS)
def test_all_states_and_what_changed_between(history: History, one, other):
    rows = [row for batch in history.scan_documents_at(one) for row in batch.to_pylist()]
    assert {r["key"]: json.loads(r["state"]) for r in rows} == at(one)
    start, end = sorted((one, other))
    found = {
        key: (old and json.loads(old), new and json.loads(new))
        for key, old, new in history.scan_documents_changed_between(start, end)
    }
    assert found == {
        key: (at(start).get(key), at(end).get(key))
        for key in [*KEYS, "all"]
        if any(start < n <= end for n in changed(key))
    }


def test_documents_are_numbered_in_the_order_of_their_birth(history: History):
    documents = history.documents(0, 10)
    assert [d.ordinal for d in documents] == list(range(len(documents)))
    for document in documents:
        assert document.created_at == changed(document.key)[0]
        assert history.ordinal_of(document.key) == document.ordinal
    for position in range(-1, EVENTS):
        assert history.count_documents_at(position) == sum(
            d.created_at <= position for d in documents
        )


def test_all_failures_of_one_event_are_there(studio: Studio):
    studio.events(("a", "T", {}), ("a", "T", {}))
    studio.file("p.py", "def key(e): return [*range(150)]\ndef apply(s, e): 1 / 0\n")
    history = studio.history()
    assert len(history.failures_at(0)) == 150
    assert list(history.failure_offsets()) == [0, 1]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "a.b"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b c", "0", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)


def value_at(value: Any, path: Any) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError):
            return ABSENT
    return value


@settings(max_examples=examples(300), deadline=None)
@given(before=VALUES, after=VALUES)
def test_applying_the_differences_to_one_value_gives_the_other(before, after):
    found = find_differences(before, after)
    assert (found == []) == is_same_value(before, after)
    assert len({paths.format_path(d.path) for d in found}) == len(found)
    for difference in found:
        if difference.before is not ABSENT:
            assert is_same_value(value_at(before, difference.path), difference.before)
    assert is_same_value(applied(before, found), after)


def applied(value: Any, found: Any) -> Any:
    """The value with each difference carried out, as its path and values say."""
    value = json.loads(json.dumps(value))
    for difference in sorted(found, key=lambda d: d.after is ABSENT):
        if not difference.path:
            return difference.after
    removed = [d for d in found if d.after is ABSENT]
    added = [d for d in found if d.before is ABSENT]
    changed_ = [d for d in found if d not in removed and d not in added]
    for difference in changed_:
        value_at(value, difference.path[:-1])[difference.path[-1]] = difference.after
    for difference in reversed(removed):
        del value_at(value, difference.path[:-1])[difference.path[-1]]
    for difference in added:
        parent, step = value_at(value, difference.path[:-1]), difference.path[-1]
        parent.insert(step, difference.after) if isinstance(parent, list) else parent.update(
            {step: difference.after}
        )
    return value


def test_numbers_are_compared_by_their_digits_and_1_is_not_true():
    assert not is_same_value(decode_state("0.10"), decode_state("0.1"))
    assert not is_same_value(decode_state("1"), decode_state("true"))
    assert paths.format_path(("a b", "c", 0)) == '$."a b".c[0]'
    assert paths.format_path(("items", "sku-7", "qty")) == "items.sku-7.qty"
