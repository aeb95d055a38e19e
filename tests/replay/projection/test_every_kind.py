"""The behaviour that every kind of projection shares, in whatever language it is written."""

import json
import random
from typing import Any

import pytest

from tests.support.projection_kinds import KINDS, Kind
from tests.support.projection_studio import Studio, small_flushes

CHANCE = random.Random(5)
TYPES = ("Added", "Added", "Added", "Added", "Dropped", "Failed", "Unknown")
EVENTS = [
    (CHANCE.choice("abcd"), CHANCE.choice(TYPES), {"by": CHANCE.randrange(-3, 9)})
    for _ in range(160)
]


@pytest.fixture(params=KINDS, ids=[kind.name for kind in KINDS])
def kind(request: Any) -> Kind:
    return request.param


def _expected(events: list[Any], kind: Kind) -> list[Any]:
    """The history, by a fold of its own."""
    documents: dict[str, Any] = {}
    changes = []
    for offset, (key, type_, data) in enumerate(events):
        before = documents.get(key)
        state = before or {"name": key, "total": 0, "seen": []}
        if type_ == "Added":
            seen = [*state["seen"], data["by"]][-3:]
            state = {**state, "total": state["total"] + data["by"], "seen": seen}
        elif type_ == "Dropped":
            state = None
        elif type_ == "Failed" or not kind.handles_all:
            continue
        documents[key] = state
        if state != before:
            changes.append((offset, key, state))
    return changes


def test_the_history_is_that_of_a_fold_by_hand(studio: Studio, kind: Kind):
    studio.events(*EVENTS)
    folded = studio.fold(kind.write(studio))
    assert studio.changes(folded) == _expected(EVENTS, kind)
    assert folded.name == ("Counter" if "Counter" in kind.reference else "counter")
    unknown = sum(e[1] == "Unknown" for e in EVENTS)
    told = kind.handles and not kind.handles_all
    assert dict(folded.unhandled_by_type) == ({"Unknown": unknown} if told else {})


@pytest.mark.slow
def test_a_handler_that_fails_leaves_its_document_and_says_where(studio: Studio, kind: Kind):
    studio.events(*EVENTS)
    failures = studio.failures(studio.fold(kind.write(studio)))
    if not kind.handles:
        assert failures == []
        return
    failed = [(n, key) for n, (key, type_, _) in enumerate(EVENTS) if type_ == "Failed"]
    assert [(f.offset, f.key) for f in failures] == failed
    assert {f.error for f in failures} == {"ValueError: no such thing"}


@pytest.mark.slow
def test_fold_resumes_where_it_ended(studio: Studio, kind: Kind):
    reference = kind.write(studio)
    for first in range(0, 160, 40):
        studio.events(*EVENTS[first : first + 40])
        with small_flushes():
            folded = studio.fold(reference)
    assert studio.changes(folded) == _expected(EVENTS, kind)
    assert folded.next_offset == 160


def test_changed_code_is_another_projection(studio: Studio, kind: Kind):
    studio.events(*EVENTS[:20])
    reference = kind.write(studio)
    before = studio.fold(reference)
    assert studio.fold(reference).code_hash == before.code_hash
    kind.changed(studio, lambda source: source.replace("seen", "met"))
    after = studio.fold(reference)
    assert after.code_hash != before.code_hash
    assert "met" in studio.changes(after)[0][2]


def test_states_can_be_asked_at_any_offset(studio: Studio, kind: Kind):
    studio.events(*EVENTS)
    history = studio.history(kind.write(studio))
    expected = _expected(EVENTS, kind)
    for offset in range(0, 160, 13):
        latest = {key: state for at, key, state in expected if at <= offset}
        there = {key: state for key, state in latest.items() if state is not None}
        rows = [row for batch in history.scan_documents_at(offset) for row in batch.to_pylist()]
        assert {row["key"]: json.loads(row["state"]) for row in rows} == there
