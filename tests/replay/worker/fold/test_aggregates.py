"""Aggregate classes as projections, also those of the library eventsourcing."""

import json
import textwrap
from typing import Any

import pytest

from storage.errors import ProjectionError
from tests.support.projection_studio import Studio

STYLES = {
    "apply, and typed events": """
        class Account:
            def __init__(self): self.balance, self.open = 0, True
            def apply(self, event):
                if isinstance(event, Deposited): self.balance += event.amount
                elif isinstance(event, Closed): self.open = False
    """,
    "when, by the type's name": """
        class Account:
            def __init__(self, id): self.balance, self.open = 0, True
            def when(self, event): getattr(self, "when_" + type(event).__name__.lower())(event)
            def when_deposited(self, event): self.balance += event.amount
            def when_closed(self, event): self.open = False
    """,
    "evolve, which returns a new one": """
        @dataclass(frozen=True)
        class Account:
            balance: int = 0
            open: bool = True
            def evolve(self, event) -> "Account":
                if isinstance(event, Closed): return replace(self, open=False)
                return replace(self, balance=self.balance + event.amount)
    """,
    "apply, told apart by the class": """
        from functools import singledispatchmethod
        class Account:
            def __init__(self): self.balance, self.open = 0, True
            @singledispatchmethod
            def apply(self, event): raise NotImplementedError(event)
            @apply.register
            def _(self, event: Deposited): self.balance += event.amount
            @apply.register
            def _(self, event: Closed): self.open = False
    """,
    "mutate": """
        class Account:
            balance = 0
            def __init__(self, **kwargs): self.balance, self.open = 0, True
            def mutate(self, event):
                if isinstance(event, Deposited): self.balance += event.amount
                else: self.open = False
                return self
    """,
}
EVENTS = """
from dataclasses import dataclass, replace
@dataclass
class Deposited:
    amount: int
class Closed:
    pass
"""


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("careful", [False, True])
def test_a_class_with_a_method_for_events_is_a_projection(studio: Studio, style, careful):
    studio.events(
        ("a", "Deposited", {"amount": 3}),
        ("b", "bank.Deposited", {"amount": 5}),
        ("a", "Deposited", {"amount": 4}),
        ("a", "Closed", {}),
        ("b", "Deposited", {"wrong": 4}),
    )
    studio.file("bank.py", EVENTS + textwrap.dedent(STYLES[style]))
    history = studio.history("bank.py:Account", workers=2 if careful else 1)
    assert studio.changes(history.fold_record) == [
        (0, "a", {"balance": 3, "open": True}),
        (1, "b", {"balance": 5, "open": True}),
        (2, "a", {"balance": 7, "open": True}),
        (3, "a", {"balance": 7, "open": False}),
    ]
    [failure] = history.failures()
    assert failure.offset == 4
    assert "wrong" in failure.error


def test_aggregates_resume_from_their_last_state(studio: Studio):
    studio.file("bank.py", EVENTS + textwrap.dedent(STYLES["apply, and typed events"]))
    for amount in range(1, 4):
        studio.events(("a", "Deposited", {"amount": amount}))
        folded = studio.fold("bank.py:Account")
    assert [s["balance"] for _, _, s in studio.changes(folded)] == [1, 3, 6]


DOGS = """
from datetime import datetime
from decimal import Decimal
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

class Dog(Aggregate):
    def __init__(self, name):
        self.name, self.tricks, self.worth = name, [], Decimal("0.10")
    @event("Taught")
    def teach(self, trick, at: datetime = None):
        self.tricks.append(trick)
    @event("Valued")
    def value(self, worth):
        self.worth = worth
        if worth < 0: raise ValueError("a dog is worth something")
"""


def test_eventsourcing_aggregates_fold_their_stored_events(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
):
    studio.file("dogs.py", DOGS)
    monkeypatch.syspath_prepend(studio.folder)
    import dogs  # the module written above

    application = dogs.Application()
    rex, bella = dogs.Dog("Rex"), dogs.Dog("Bella")
    rex.teach("roll")
    bella.value(dogs.Decimal("12.50"))
    rex.teach("sit")
    application.save(rex, bella)
    stored = application.recorder.select_notifications(start=1, limit=10)
    for one in stored:
        studio.events(_record(one.originator_id, one.originator_version, one.topic, one.state))
    folded = studio.fold("dogs.py:Dog")
    assert studio.failures(folded) == []
    latest = {key: state for _, key, state in studio.changes(folded)}
    for dog in (rex, bella):
        state = latest[str(dog.id)]
        assert (state["name"], state["tricks"]) == (dog.name, dog.tricks)
        assert state["_version"] == dog.version
    assert latest[str(bella.id)]["worth"] == 12.5
    assert folded.round_trips_json is False
    taught = json.dumps({**json.loads(stored[1].state), "trick": "beg"}).encode()
    studio.events(_record(rex.id, 4, "dogs:Dog.Taught", taught))
    assert studio.changes(studio.fold("dogs.py:Dog"))[-1][2]["tricks"] == ["roll", "sit", "beg"]


def _record(stream: Any, revision: int, topic: str, state: bytes) -> dict[str, Any]:
    """Return a row of stored_events as `--map type=topic --map data=state` loads it."""
    data = json.loads(state)
    return {"stream": str(stream), "revision": revision, "type": topic, "data": data}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def apply(event): pass", r"p.apply must take \(state, event\)"),
        ("async def on_T(event): pass", r"p.on_T must take \(state, event\)"),
        ("def on_T(): pass", r"p.on_T must take \(state, event\)"),
    ],
)
def test_a_handler_with_wrong_parameters_is_rejected_when_loading(studio: Studio, source, expected):
    studio.events(("a", "T", {}))
    studio.file("p.py", source)
    with pytest.raises(ProjectionError, match=expected):
        studio.fold()


def test_an_event_type_can_name_only_a_class_of_the_user(studio: Studio):
    studio.events(("a", "Popen", {"args": ["true"]}), ("a", "bank.Account", {}), ("a", "Path", {}))
    studio.file(
        "bank.py",
        """
        from pathlib import Path
        from subprocess import Popen
        class Account:
            def __init__(self): self.seen = []
            def apply(self, event): self.seen.append(type(event).__name__)
        """,
    )
    folded = studio.fold("bank.py:Account")
    assert studio.failures(folded) == []
    assert studio.changes(folded)[-1][2]["seen"] == ["Event", "Account", "Event"]


def test_a_class_that_needs_more_than_a_key_is_rejected(studio: Studio):
    studio.events(("a", "T", {}))
    studio.file(
        "bank.py",
        "class Account:\n    def __init__(self, owner, at): pass\n    def apply(self, event): pass\n",
    )
    with pytest.raises(ProjectionError, match=r"Account\(\) needs 2 arguments") as caught:
        studio.fold("bank.py:Account")
    assert "initial(key)" in caught.value.message
