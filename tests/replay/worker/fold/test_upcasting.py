"""Old versions of events: upcast chains, what is stored of them, and unhandled events."""

import json

import pytest

from replay.history.fold_reports import UnhandledEvents, UpcastRecord
from tests.replay.worker_host.test_worker_group import everything
from tests.support.projection_studio import Studio

PLACED = [
    {"stream": "a", "type": "Placed", "version": 1, "data": {"name": "x"}},
    {"stream": "a", "type": "OrderPlaced", "version": 2, "data": {"name": "y"}},
    {"stream": "b", "type": "OrderPlaced", "version": 3, "data": {"title": "z"}},
    {"stream": "b", "type": "Gone", "version": 1, "data": {}},
    {"stream": "b", "type": "Gone", "version": 2, "data": {}},
    {"stream": "b", "type": "Gone", "version": 2, "data": {}},
]
HANDLER = """
def on_OrderPlaced(state, event):
    state.update(title=event.data["title"], version=event.version, at=event.offset)
"""
ONE = """
def upcast(event):
    if event.type == "Placed":
        return event.replace(type="OrderPlaced", version=2)
    if event.type == "OrderPlaced" and event.version == 2:
        return event.replace(version=3, data={"title": event.data["name"]})
"""
CHAIN = """
def renamed(event):
    return event.replace(type="OrderPlaced", version=2) if event.type == "Placed" else None
def titled(event):
    if event.type == "OrderPlaced" and event.version == 2:
        return event.replace(version=3, data={"title": event.data["name"]})
    return event
upcast = [renamed, titled]
"""
OBJECTS = """
from types import SimpleNamespace as N
def upcast(event):
    if "name" in event.data:
        return N(type="OrderPlaced", version=3, data={"title": event.data["name"]})
"""


@pytest.mark.parametrize("source", [ONE, CHAIN, OBJECTS], ids=["function", "list", "objects"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_event_is_handled_upcast_and_stored_as_it_was(studio: Studio, source, workers):
    studio.events(*PLACED)
    studio.file("p.py", source + HANDLER)
    history = studio.history(workers=workers)
    assert [
        (o, k, s["title"], s["version"], s["at"]) for o, k, s in studio.changes(history.fold_record)
    ] == [
        (0, "a", "x", 3, 0),
        (1, "a", "y", 3, 1),
        (2, "b", "z", 3, 2),
    ]
    assert list(history.upcast_offsets()) == [0, 1]
    assert history.upcast_record_at(0) == UpcastRecord("a", "OrderPlaced", "3", '{"title":"x"}')
    assert history.upcast_record_at(2) is None
    with studio.workspace.reading() as connection:
        [(kind, data)] = connection.execute(
            'SELECT type, data FROM events WHERE "offset" = 0'
        ).fetchall()
    assert (kind, json.loads(data)) == ("Placed", {"name": "x"})


def test_unhandled_events_are_listed_by_type_and_version(studio: Studio):
    studio.events(*PLACED)
    studio.file("p.py", ONE.replace('"OrderPlaced", version=2', '"Lost", version=9') + HANDLER)
    assert studio.history().unhandled_events() == [
        UnhandledEvents("Lost", "9", 1, 0),
        UnhandledEvents("Gone", "1", 1, 3),
        UnhandledEvents("Gone", "2", 2, 4),
    ]


def test_unhandled_events_without_a_type_are_listed(studio: Studio):
    studio.events({"stream": "a", "data": {}}, {"stream": "a", "type": "T", "data": {}})
    studio.file("p.py", "def on_T(state, event): state['n'] = 1\n")
    assert studio.history().unhandled_events() == [UnhandledEvents(None, None, 1, 0)]


ENDLESS = {
    "back and forth": "event.replace(type='B' if event.type == 'A' else 'A')",
    "ever higher": "event.replace(version=(event.version or 0) + 1)",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_upcast_is_a_failure_at_its_event(studio: Studio, name):
    studio.events(("a", "T", {}), ("a", "A", {}), ("a", "T", {}))
    studio.file(
        "p.py",
        f"def upcast(event):\n    if event.type != 'T': return {ENDLESS[name]}\n"
        "def apply(state, event): state['n'] = event.offset\n",
    )
    folded = studio.fold()
    [failure] = studio.failures(folded)
    assert failure.offset == 1
    assert failure.error.startswith("RecursionError: upcast doesn't come to an end: A None → ")
    assert [o for o, _, _ in studio.changes(folded)] == [0, 2]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("{'type': 'X'}", "TypeError: upcast returned a dict, which has no type"),
        ("event.replace(colour='red')", "TypeError: an event has no field colour"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_upcast_that_returns_an_invalid_event_is_a_failure(studio: Studio, returned, expected):
    studio.events(("a", "T", {}))
    studio.file("p.py", f"def upcast(event): return {returned}\ndef apply(state, event): pass\n")
    [failure] = studio.failures(studio.fold())
    assert failure.error == expected


def test_an_upcast_that_always_returns_an_event_ends(studio: Studio):
    studio.events(*PLACED[:3])
    studio.file(
        "p.py",
        "def upcast(event): return event.replace(type=event.type.lower())\n"
        "def apply(state, event): state['type'] = event.type\n",
    )
    folded = studio.fold()
    assert [s["type"] for _, _, s in studio.changes(folded)] == [
        "placed",
        "orderplaced",
        "orderplaced",
    ]
    alone = everything(studio, folded.projection_number)
    assert everything(studio, studio.fold(workers=2, force=True).projection_number) == alone
