"""Overridden answers and injected faults in what-if runs: seeded, with virtual delays."""

import time

import pytest

from gateway import overrides
from gateway.modes import Mode
from storage.errors import ProjectionError
from tests.support.gateway_caller import Caller, Outside

ASKS = """
def apply(state, event, gateway):
    try:
        state["n"] = gateway.query("fx", "rate", {"pair": event.data["pair"]})
    except gateway.Timeout as error:
        state["n"] = "timeout"
    except gateway.Failed as error:
        state["n"] = str(error)
"""


def _what_if(caller, *declared, **options):
    found = overrides.parse_overrides(list(declared), "refold.toml")
    return [
        s["n"] for s in caller.states(caller.replay(mode=Mode.WHAT_IF, overrides=found, **options))
    ]


@pytest.fixture
def recorded(caller: Caller):
    caller.events(*[(f"s{n}", "T", {"pair": "X" if n % 2 else "Y"}) for n in range(6)])
    caller.file("p.py", ASKS)
    caller.record()
    return caller


def _answers(states):
    return [one["n"] if isinstance(one, dict) else one for one in states]


def test_overrides_replace_recorded_answers(recorded, outside: Outside):
    before = outside.count
    assert _answers(_what_if(recorded, {"port": "fx", "respond": {"n": 0}})) == [0] * 6
    assert _answers(
        _what_if(recorded, {"port": "fx", "request": {"pair": "X"}, "respond": {"n": 0}})
    ) == [
        1,
        0,
        3,
        0,
        5,
        0,
    ]
    assert _answers(
        _what_if(recorded, {"port": "fx", "from": 2, "to": 3, "respond": {"n": 0}})
    ) == [
        1,
        2,
        0,
        0,
        5,
        6,
    ]
    assert _answers(_what_if(recorded, {"port": "fx", "times": 2, "fail": "down"})) == [
        "down",
        "down",
        3,
        4,
        5,
        6,
    ]
    assert _answers(_what_if(recorded, {"port": "fx", "operation": "other", "fail": "down"})) == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    patch = [{"op": "replace", "path": "/n", "value": -1}, {"op": "remove", "path": "/path"}]
    assert _what_if(recorded, {"port": "fx", "to": 0, "patch": patch})[0] == {"n": -1}
    assert outside.count == before


def test_a_timeout_fires_without_waiting(recorded):
    started = time.monotonic()
    states = _what_if(recorded, {"port": "fx", "delay": 3600, "timeout": 10, "to": 1})
    assert _answers(states) == ["timeout", "timeout", 3, 4, 5, 6]
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_chance_is_drawn_by_the_seed(recorded):
    half = {"port": "fx", "chance": 0.5, "fail": "down"}
    drawn = [_answers(_what_if(recorded, half, seed=seed)) for seed in range(6)]
    assert [
        _answers(_what_if(recorded, half, seed=seed, force=True, workers=2)) for seed in range(6)
    ] == drawn
    assert len({str(one) for one in drawn}) > 1


def test_a_what_if_run_has_its_own_history(recorded):
    plain = recorded.replay()
    states = recorded.states(plain)
    other = recorded.replay(
        mode=Mode.WHAT_IF, overrides=overrides.parse_overrides([{"port": "fx", "fail": "x"}], "f")
    )
    assert other.projection_number != plain.projection_number
    assert recorded.states(recorded.replay()) == states
    decisions = {d.decision for d in recorded.decided(other)}
    assert decisions == {"stubbed"}


def test_a_patch_without_target_fails_its_event_only(recorded):
    patch = [{"op": "replace", "path": "/none", "value": 1}]
    found = overrides.parse_overrides([{"port": "fx", "to": 0, "patch": patch}], "refold.toml")
    folded = recorded.replay(mode=Mode.WHAT_IF, overrides=found)
    [failure] = recorded.failures(folded)
    assert (failure.offset, "whose patch finds nothing at '/none'" in failure.error) == (0, True)
    assert len(recorded.states(folded)) == 5


@pytest.mark.parametrize(
    "declared",
    [{}, {"port": "fx", "nonsense": 1}, {"port": 5}, {"port": "fx", "from": "x"}],
)
def test_an_invalid_override_is_refused(declared):
    with pytest.raises(ProjectionError, match="invalid override"):
        overrides.parse_overrides([declared], "refold.toml")
