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


def _what_if(caller, *declared, **wishes):
    found = overrides.parse_overrides(list(declared), "refold.toml")
    return [
        s["n"] for s in caller.states(caller.replay(mode=Mode.WHAT_IF, overrides=found, **wishes))
    ]


@pytest.fixture
def asked(caller: Caller):
    caller.events(*[(f"s{n}", "T", {"pair": "X" if n % 2 else "Y"}) for n in range(6)])
    caller.file("p.py", ASKS)
    caller.record()
    return caller


def _n(said):
    return [one["n"] if isinstance(one, dict) else one for one in said]


def test_overrides_replace_recorded_answers(asked, outside: Outside):
    before = outside.count
    assert _n(_what_if(asked, {"port": "fx", "respond": {"n": 0}})) == [0] * 6
    assert _n(_what_if(asked, {"port": "fx", "request": {"pair": "X"}, "respond": {"n": 0}})) == [
        1,
        0,
        3,
        0,
        5,
        0,
    ]
    assert _n(_what_if(asked, {"port": "fx", "from": 2, "to": 3, "respond": {"n": 0}})) == [
        1,
        2,
        0,
        0,
        5,
        6,
    ]
    assert _n(_what_if(asked, {"port": "fx", "times": 2, "fail": "down"})) == [
        "down",
        "down",
        3,
        4,
        5,
        6,
    ]
    assert _n(_what_if(asked, {"port": "fx", "operation": "other", "fail": "down"})) == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    patch = [{"op": "replace", "path": "/n", "value": -1}, {"op": "remove", "path": "/path"}]
    assert _what_if(asked, {"port": "fx", "to": 0, "patch": patch})[0] == {"n": -1}
    assert outside.count == before


def test_a_timeout_fires_without_waiting(asked):
    started = time.monotonic()
    said = _what_if(asked, {"port": "fx", "delay": 3600, "timeout": 10, "to": 1})
    assert _n(said) == ["timeout", "timeout", 3, 4, 5, 6]
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_chance_is_drawn_by_the_seed(asked):
    half = {"port": "fx", "chance": 0.5, "fail": "down"}
    drawn = [_n(_what_if(asked, half, seed=seed)) for seed in range(6)]
    assert [
        _n(_what_if(asked, half, seed=seed, force=True, workers=2)) for seed in range(6)
    ] == drawn
    assert len({str(one) for one in drawn}) > 1


def test_a_what_if_run_has_its_own_history(asked):
    plain = asked.replay()
    states = asked.states(plain)
    other = asked.replay(
        mode=Mode.WHAT_IF, overrides=overrides.parse_overrides([{"port": "fx", "fail": "x"}], "f")
    )
    assert other.projection_number != plain.projection_number
    assert asked.states(asked.replay()) == states
    decisions = {d.decision for d in asked.decided(other)}
    assert decisions == {"stubbed"}


def test_a_patch_without_target_fails_its_event_only(asked):
    patch = [{"op": "replace", "path": "/none", "value": 1}]
    found = overrides.parse_overrides([{"port": "fx", "to": 0, "patch": patch}], "refold.toml")
    folded = asked.replay(mode=Mode.WHAT_IF, overrides=found)
    [failure] = asked.failures(folded)
    assert (failure.offset, "whose patch finds nothing at '/none'" in failure.error) == (0, True)
    assert len(asked.states(folded)) == 5


@pytest.mark.parametrize(
    "declared",
    [{}, {"port": "fx", "nonsense": 1}, {"port": 5}, {"port": "fx", "from": "x"}],
)
def test_an_invalid_override_is_refused(declared):
    with pytest.raises(ProjectionError, match="invalid override"):
        overrides.parse_overrides([declared], "refold.toml")
