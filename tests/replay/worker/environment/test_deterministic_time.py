"""Time, ids and random numbers come from the event, in handlers that don't use refold."""

import json

import pytest

from replay.history import call_decisions
from replay.history.history import History
from tests.support.gateway_caller import Caller

READS = """
import datetime, os, random, secrets, time, uuid
from datetime import datetime as moment, timezone
def apply(state, event, gateway):
    state["now"] = moment.now(timezone.utc).isoformat()
    state["utcnow"] = datetime.datetime.utcnow().isoformat()
    state["time"] = time.time()
    state["ns"] = time.time_ns()
    state["year"] = time.strftime("%Y", time.gmtime())
    state["uuid4"] = [str(uuid.uuid4()), str(uuid.uuid4())]
    state["uuid1"] = str(uuid.uuid1())
    state["random"] = [random.random(), random.randint(1, 10**9), random.choice(range(1000))]
    state["own"] = random.Random().random()
    state["secret"] = secrets.token_hex(8)
    state["bytes"] = os.urandom(4).hex()
    state["gateway"] = [gateway.now().isoformat(), gateway.random("a"), gateway.random("a"),
        gateway.random("b"), str(gateway.uuid("a"))]
"""


def _events(caller, count=3):
    caller.events(
        *[
            {
                "id": f"e{n}",
                "stream": "a",
                "type": "T",
                "time": f"2025-03-0{n + 1}T10:00:00.25Z",
                "data": {"n": n},
            }
            for n in range(count)
        ]
    )


def test_derived_values_are_the_same_in_every_process(caller: Caller):
    _events(caller)
    caller.file("p.py", READS)
    folded = caller.replay()
    states = caller.states(folded)
    assert caller.failures(folded) == []
    assert [s["now"] for s in states] == [f"2025-03-0{n}T10:00:00.250000+00:00" for n in (1, 2, 3)]
    first = states[0]
    assert first["utcnow"] == "2025-03-01T10:00:00.250000"
    assert (first["time"], first["ns"]) == (1740823200.25, 1740823200250000000)
    assert first["year"] == "2025"
    assert first["gateway"][0] == first["now"]
    drawn = [
        json.dumps([s[name] for name in ("uuid4", "uuid1", "random", "own", "secret", "bytes")])
        for s in states
    ]
    assert len(set(drawn)) == 3
    assert len(set(first["uuid4"])) == 2
    assert len(set(first["gateway"][1:4])) == 3
    assert caller.states(caller.replay(force=True)) == states
    assert caller.states(caller.replay(force=True, workers=2)) == states


def test_a_resumed_fold_draws_the_same_values_as_a_fold_from_the_start(caller: Caller, new_caller):
    _events(caller, 2)
    caller.file("p.py", READS)
    caller.replay()
    caller.events(
        {"id": "e2", "stream": "a", "type": "T", "time": "2025-03-03T10:00:00.25Z", "data": {}}
    )
    resumed = caller.states(caller.replay())
    other = new_caller()
    _events(other, 2)
    other.events(
        {"id": "e2", "stream": "a", "type": "T", "time": "2025-03-03T10:00:00.25Z", "data": {}}
    )
    other.file("p.py", READS)
    assert other.states(other.replay()) == resumed


def test_a_seeded_generator_gives_its_own_numbers(caller: Caller):
    import random

    _events(caller, 2)
    caller.file(
        "p.py",
        """
        import random
        def apply(state, event):
            random.seed(5)
            state["n"] = event.offset
            state["drawn"] = [random.random(), random.Random(7).random()]
        """,
    )
    wanted = [random.Random(5).random(), random.Random(7).random()]
    assert [s["drawn"] for s in caller.states(caller.replay())] == [wanted, wanted]


def test_numpy_draws_numbers_derived_from_the_event(caller: Caller):
    pytest.importorskip("numpy")
    _events(caller, 3)
    caller.file(
        "p.py",
        """
        import numpy as np
        def apply(state, event):
            state["old"] = [float(np.random.rand()), int(np.random.randint(10**6))]
            state["new"] = float(np.random.default_rng().random())
        """,
    )
    states = caller.states(caller.replay())
    assert len({str(s) for s in states}) == 3
    assert caller.states(caller.replay(force=True)) == states
    other = caller.states(caller.replay(force=True, workers=2))
    assert other == states


def test_another_draw_of_one_purpose_does_not_shift_other_purposes(caller: Caller):
    _events(caller, 1)
    caller.file("p.py", "def apply(s, event, gateway):\n    s['b'] = gateway.random('b')\n")
    [one] = caller.states(caller.replay())
    caller.file(
        "p.py",
        "def apply(s, event, gateway):\n    gateway.random('a')\n    s['b'] = gateway.random('b')\n",
    )
    assert caller.states(caller.replay()) == [one]


def test_reads_are_listed_and_event_time_can_be_turned_off(caller: Caller):
    _events(caller, 1)
    caller.file("p.py", "import time\ndef apply(s, event):\n    s['t'] = time.time()\n")
    folded = caller.replay()
    history = History(caller.workspace, folded)
    assert call_decisions.list_nondeterministic_reads(history) == [(0, "time.time")]
    assert call_decisions.list_nondeterministic_reads_between(history, 0, 5) == {0: ["time.time"]}
    assert caller.states(folded) == [{"t": 1740823200.25}]
    own = caller.replay(own_time=False)
    assert own.projection_number != folded.projection_number
    assert caller.states(own)[0]["t"] > 1740823200.25 + 10**6


def test_recorded_times_ids_and_numbers_are_returned(caller: Caller):
    from gateway.exchange import import_export

    _events(caller, 1)
    lines = [
        {
            "event_id": "e0",
            "port": "clock",
            "operation": "now",
            "request": None,
            "response": "2031-01-01T00:00:00Z",
        },
        {"event_id": "e0", "port": "random", "operation": "dice", "request": None, "response": 0.5},
        {
            "event_id": "e0",
            "port": "uuid",
            "operation": "id",
            "request": None,
            "response": "12345678-1234-4234-8234-123456789abc",
        },
    ]
    journal = caller.folder / "calls.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_export.import_recordings(caller.workspace, journal, caller.settings().ports)
    caller.file(
        "p.py",
        """
        from datetime import datetime, timezone
        def apply(s, event, gateway):
            s["now"] = datetime.now(timezone.utc).year
            s["mine"] = gateway.now().year
            s["dice"] = [gateway.random("dice"), gateway.random("dice") != 0.5]
            s["id"] = str(gateway.uuid("id"))
        """,
    )
    folded = caller.replay()
    assert caller.failures(folded) == []
    assert caller.states(folded) == [
        {
            "now": 2031,
            "mine": 2031,
            "dice": [0.5, True],
            "id": "12345678-1234-4234-8234-123456789abc",
        }
    ]


@pytest.mark.parametrize("library", ["pydantic", "msgspec", "attrs"])
def test_libraries_recognize_the_patched_datetime(caller: Caller, library):
    pytest.importorskip(library)
    _events(caller, 1)
    caller.file(
        "p.py",
        {
            "pydantic": """
                import pydantic
                from datetime import datetime, date
                class State(pydantic.BaseModel):
                    at: datetime
                    on: date
                def apply(state, event):
                    return State(at=datetime.now(), on=date.today()).model_dump(mode="json")
                """,
            "msgspec": """
                import msgspec
                from datetime import datetime, date
                class State(msgspec.Struct):
                    at: datetime
                    on: date
                def apply(state, event):
                    made = State(datetime.now(), date.today())
                    again = msgspec.convert(msgspec.to_builtins(made), State)
                    return msgspec.json.decode(msgspec.json.encode(again))
                """,
            "attrs": """
                import attrs
                from datetime import datetime, date
                @attrs.define
                class State:
                    at: datetime = attrs.field(validator=attrs.validators.instance_of(datetime))
                    on: date = attrs.field(validator=attrs.validators.instance_of(date))
                def apply(state, event):
                    made = State(datetime.now(), date.today())
                    return {"at": made.at.isoformat(), "on": made.on.isoformat()}
                """,
        }[library],
    )
    folded = caller.replay()
    assert caller.failures(folded) == []
    [state] = caller.states(folded)
    assert state["on"] == "2025-03-01"
    assert state["at"].startswith("2025-03-01T")
