"""Checks of projection properties: determinism, isolation, idempotence and order."""

import json
from typing import Any

import pytest

from replay.checks import projection_properties
from storage.errors import ProjectionError
from tests.support.projection_kinds import KINDS, Kind
from tests.support.projection_studio import Studio

EVENTS = [("abcd"[n % 4], ("Set", "Other")[n % 7 == 3], {"n": n}) for n in range(120)]

READERS = {
    "datetime.now": "__import__('datetime').datetime.now().isoformat()",
    "datetime.utcnow": "str(datetime.utcnow().date())",
    "date.today": "str(__import__('datetime').date.today())",
    "time.time": "int(time.time()) // 86400",
    "time.localtime": "time.localtime().tm_yday",
    "random.random": "random.random()",
    "uuid.uuid4": "str(uuid.uuid4())",
    "os.urandom": "os.urandom(4).hex()",
}
IMPORTS = "import os, random, time, uuid\nfrom datetime import datetime\n"


@pytest.mark.parametrize("name", READERS)
def test_what_a_handler_reads_of_the_world_is_told_with_the_first_state_that_differs(
    studio: Studio, name
):
    workspace = studio.events(*EVENTS)
    studio.file(
        "p.py",
        f"{IMPORTS}def on_Set(state, event): state['n'] = event.data['n']\n"
        f"def on_Other(state, event): state['read'] = {READERS[name]}\n",
    )
    found = projection_properties.check_determinism(workspace, studio.refer())
    assert found is not None
    assert (found.offset, found.key) == (3, "d")
    assert [d.path_text for d in found.differences] == ["read"]
    assert name in found.reads


UNREAD = {
    "the order of a set": "list({'paid', 'sent', 'open', 'lost', 'late'})",
    "the time zone": "str(event.time.astimezone().hour)",
    "a hash": "hash(event.stream) % 1000",
    "an address": "id(object()) % 99991",
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_read_unseen_is_found_by_the_state(studio: Studio, name):
    workspace = studio.events(
        *[
            {"stream": key, "type": kind, "data": data, "time": "2026-01-03T12:00:00Z"}
            for key, kind, data in EVENTS
        ]
    )
    studio.file("p.py", f"def on_Other(state, event): state['read'] = {UNREAD[name]}\n")
    found = projection_properties.check_determinism(workspace, studio.refer())
    assert found is not None
    assert next(d.path_text.split("[")[0] for d in found.differences) == "read"


def test_an_error_that_comes_only_sometimes_is_a_difference(studio: Studio):
    workspace = studio.events(*EVENTS)
    studio.file(
        "p.py",
        """
        import time
        STARTED = time.time()
        def on_Set(state, event):
            state["n"] = event.data["n"]
            if event.data["n"] == 50 and STARTED > 1_900_000_000: raise ValueError("too late")
        """
        if False
        else """
        import os
        def on_Set(state, event):
            state["n"] = event.data["n"]
            if event.data["n"] == 50 and os.environ["TZ"] != "UTC": raise ValueError("too late")
        """,
    )
    found = projection_properties.check_determinism(workspace, studio.refer())
    assert found is not None
    assert (found.offset, found.key, found.second_state) == (50, "c", "ValueError: too late")


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_every_pure_projection_kind_passes(studio: Studio, kind: Kind):
    workspace = studio.events(*[(key, "Added", {"by": data["n"]}) for key, _, data in EVENTS])
    wanted = studio.refer(kind.write(studio))
    if not kind.handles:
        for ask in (projection_properties.check_determinism, projection_properties.check_isolation):
            with pytest.raises(ProjectionError, match="has no handlers to check"):
                ask(workspace, wanted)
        return
    assert projection_properties.check_determinism(workspace, wanted) is None
    if kind.name == "routing program":
        with pytest.raises(ProjectionError, match="routes events itself"):
            projection_properties.check_isolation(workspace, wanted)
        return
    assert projection_properties.check_isolation(workspace, wanted) is None


def test_the_right_dates_are_still_dates(studio: Studio):
    """What stands for the clock's classes is the real thing to whoever asks."""
    workspace = studio.events(*EVENTS)
    studio.file(
        "p.py",
        """
        from dataclasses import dataclass
        from datetime import date, datetime, timedelta
        @dataclass
        class Placed:
            at: datetime
            on: date
        def on_Set(state, event):
            at = datetime(2026, 1, 2) + timedelta(hours=event.data["n"])
            assert isinstance(at, datetime) and isinstance(at, date) and not isinstance(1, datetime)
            assert datetime.fromisoformat(at.isoformat()) == at
            assert datetime.strptime("2026", "%Y").year == 2026 and date(2026, 1, 2) <= at.date()
            state["placed"] = Placed(at, at.date())
        """,
    )
    assert projection_properties.check_determinism(workspace, studio.refer()) is None
    assert studio.failures(studio.fold()) == []


@pytest.mark.parametrize("routed", [True, False])
def test_what_is_carried_from_key_to_key_is_found(studio: Studio, routed):
    workspace = studio.events(*EVENTS)
    key = "def key(event): return event.stream\n" if routed else ""
    source = """
LAST = {}
def on_Set(state, event):
    state["n"] = event.data["n"]
def on_Other(state, event, key):
    state["before"] = LAST.get("key")
    LAST["key"] = key
"""
    studio.file("p.py", key + source)
    found = projection_properties.check_isolation(workspace, studio.refer())
    assert found is not None
    assert [d.path_text for d in found.differences] == ["before"]
    assert 0 < found.offset < 60


def test_events_that_may_not_come_twice_are_counted_by_type(studio: Studio):
    workspace = studio.events(*EVENTS)
    studio.file(
        "p.py",
        """
        def on_Set(state, event): state["n"] = event.data["n"]
        def on_Other(state, event): state.setdefault("seen", []).append(event.data["n"])
        """,
    )
    before = studio.changes(studio.fold())
    [found] = projection_properties.run_probe(workspace, studio.refer(), "idempotence")
    assert (found.types, found.count) == (["Other"], sum(e[1] == "Other" for e in EVENTS))
    assert (found.offset, found.key) == (3, "d")
    assert studio.changes(studio.found()) == before


def test_what_ignores_an_event_it_has_seen_may_come_twice(studio: Studio):
    workspace = studio.events(*EVENTS)
    studio.file(
        "p.py",
        """
        def apply(state, event):
            if event.id in state.setdefault("seen", {}):
                raise ValueError("twice")
            state["seen"][event.id] = event.data["n"]
        """,
    )
    assert projection_properties.run_probe(workspace, studio.refer(), "idempotence") == []


def test_neighbours_of_different_streams_are_tried_the_other_way_round(studio: Studio):
    workspace = studio.events(
        ("a", "Added", {"by": 2}),
        ("b", "Added", {"by": 3}),
        ("b", "Doubled", {}),
        ("b", "Added", {"by": 1}),
        ("a", "Doubled", {}),
        ("a", "Doubled", {}),
    )
    studio.file(
        "p.py",
        """
        def key(event): return "all"
        def initial(key): return {"n": 0}
        def on_Added(state, event): state["n"] += event.data["by"]
        def on_Doubled(state, event): state["n"] *= 2
        """,
    )
    [found] = projection_properties.run_probe(workspace, studio.refer(), "reorder")
    assert (list(found.types), found.count, found.offset, found.key) == (
        ["Added", "Doubled"],
        1,
        4,
        "all",
    )


def test_nothing_is_written(studio: Studio):
    workspace = studio.events(*EVENTS)
    studio.file("p.py", "def apply(state, event): state['n'] = event.data['n']\n")
    workspace.release()
    before = studio.path.read_bytes()
    projection_properties.check_determinism(workspace, studio.refer())
    projection_properties.run_probe(workspace, studio.refer(), "reorder")
    workspace.release()
    assert studio.path.read_bytes() == before


def test_dying_worker_raises(studio: Studio):
    workspace = studio.events(*EVENTS)
    studio.file(
        "p.py",
        "import os\ndef apply(state, event):\n    if event.data['n'] == 9: os._exit(3)\n    state['n'] = 1\n",
    )
    with pytest.raises(ProjectionError, match="exited with code 3 at offset 9, so the check ended"):
        projection_properties.check_determinism(workspace, studio.refer())


def test_probe_of_a_program_is_refused(studio: Studio):
    workspace = studio.events(*EVENTS)
    [program] = [kind for kind in KINDS if kind.name == "program"]
    with pytest.raises(ProjectionError, match="keeps its documents itself"):
        projection_properties.run_probe(
            workspace, studio.refer(program.write(studio)), "idempotence"
        )


def test_the_command_says_what_broke_and_exits_with_1(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capsys
):
    from tui.cli import run_command

    studio.events(*EVENTS).close()
    studio.file(
        "p.py",
        "import random\ndef on_Set(state, event): state['n'] = event.data['n']\n"
        "def on_Other(state, event): state.update(r=random.random(), k=state.get('k', 0) + 1)\n",
    )
    monkeypatch.chdir(studio.folder)
    command = ["check", "log.refold", "-p", "p.py", "--determinism", "--idempotence"]
    assert run_command([*command, "--json"]) == 1
    rows: list[Any] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["property"] for row in rows] == ["determinism", "idempotence"]
    assert (rows[0]["offset"], rows[0]["path"], rows[0]["read"]) == (3, "r", ["random.random"])
    assert (rows[1]["type"], rows[1]["offset"]) == ("Other", 3)
    assert run_command([*command[:-2], "--isolation", "--reorder"]) == 0  # each event has its own
    assert run_command([*command, "--invariant", "true"]) == 2
