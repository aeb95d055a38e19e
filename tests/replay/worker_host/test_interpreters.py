"""The user's own interpreter: each version from 3.9 on, with only its standard library."""

import json
import random
from typing import Any

import pytest

from replay import fold
from storage.errors import ProjectionError
from tests.support import pythons
from tests.support.projection_studio import Studio

pytestmark = pytest.mark.real_worker

EVENTS = [
    ("abc"[n % 3], ("Set", "Odd")[n % 5 == 0], {"n": n * 1.5, "text": "ü✓"}) for n in range(60)
]
STATES = """
import sys
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from uuid import UUID

class Colour(Enum):
    RED = "red"

@dataclass
class Point:
    x: float
    y: object

Pair = namedtuple("Pair", "one two")

def on_Set(state, event):
    n = event.data["n"]
    state.update({
        "n": n, "big": 2 ** 80, "small": n / 3e20, "text": event.data["text"],
        "time": datetime(2026, 1, 2, tzinfo=timezone.utc) + timedelta(hours=n),
        "date": date(2026, 1, 2), "decimal": Decimal("1.10"), "colour": Colour.RED,
        "point": Point(n, (1, 2)), "pair": Pair(1, None), "ordered": OrderedDict(b=1, a=2),
        "set": {3, 1, 2}, "bytes": b"\\x00\\xff", "uuid": UUID(int=7), 5: "five",
        "nan": float("nan"), "least": 5e-324,
    })

def on_Odd(state, event):
    state["odd"] = state.get("odd", 0) + 1
    if event.data["n"] > 60:
        raise KeyError(event.data["n"])
"""


@pytest.fixture(scope="session", params=pythons.VERSIONS)
def python(request: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return pythons.bare(request.param, tmp_path_factory.mktemp("bare"))


@pytest.mark.external
def test_every_interpreter_gives_the_same_bytes(studio: Studio, python: str):
    studio.events(*EVENTS)
    studio.file("p.py", STATES)
    ours = studio.fold()
    texts = _texts(studio, ours)
    theirs = _fold(studio, python)
    assert _texts(studio, theirs) == texts
    failed = [[(f.offset, f.key, f.error) for f in studio.failures(f)] for f in (ours, theirs)]
    assert failed[0] == failed[1] != []


@pytest.mark.external
def test_numbers_are_written_the_same_by_every_interpreter(studio: Studio, python: str):
    chance = random.Random(3)
    numbers = [chance.uniform(-1, 1) * 10.0 ** chance.randrange(-310, 309) for _ in range(400)]
    studio.events(
        *[("a", "Set", {"n": n}) for n in [*numbers, 1e16, 1e-5, 1e-7, 123456789.0, -0.0]]
    )
    studio.file("p.py", "def on_Set(state, event): return {'n': event.data['n']}\n")
    assert _texts(studio, _fold(studio, python)) == _texts(studio, studio.fold())


@pytest.mark.external
def test_a_fold_continues_in_another_interpreter_of_the_same_version(studio: Studio, python: str):
    studio.events(*EVENTS[:30])
    studio.file("p.py", STATES)
    _fold(studio, python)
    studio.events(*EVENTS[30:])
    continued = _fold(studio, python)
    assert continued.next_offset == 60
    assert _texts(studio, continued) == _texts(studio, studio.fold())


def _fold(studio: Any, python: str) -> Any:
    return fold.fold_projection(studio.workspace, studio.refer("p.py", python))


def _texts(studio: Any, folded: Any) -> list[Any]:
    return [(o, k, json.dumps(s)) for o, k, s in studio.changes(folded)]


@pytest.mark.external
@pytest.mark.parametrize("version", ["3.8", "3.6", "2.7"])
def test_an_old_interpreter_is_one_error_sentence(studio: Studio, version):
    found = pythons.find(version)
    if found is None:
        pytest.skip(f"Python {version} is not installed")
    studio.events(*EVENTS[:1])
    studio.file("p.py", STATES)
    with pytest.raises(ProjectionError, match=f"is Python {version}.*, and the worker needs 3.9"):
        _fold(studio, found)


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("/no/such/python", "/no/such/python can't be started: No such file or directory"),
        ("/", "can't be started: Permission denied"),
        ("/bin/true", "/bin/true doesn't run as Python: it exited with code 0"),
        ("/bin/ls", "/bin/ls doesn't run as Python: it exited with code 2"),
        ("/bin/cat", "/bin/cat doesn't run as Python: it exited with code 1"),
    ],
)
def test_a_program_other_than_python_is_one_error_sentence(studio: Studio, python: str, said):
    studio.events(*EVENTS[:1])
    studio.file("p.py", STATES)
    with pytest.raises(ProjectionError) as caught:
        _fold(studio, python)
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 3


def test_imports_come_from_the_folder_and_the_path_of_the_user(
    studio: Studio, python: str, monkeypatch: pytest.MonkeyPatch
):
    (studio.folder / "shop").mkdir()
    studio.file("shop/__init__.py", "")
    studio.file("shop/rates.py", "RATE = 7\n")
    (studio.folder / "elsewhere").mkdir()
    studio.file("elsewhere/vendored.py", "NAME = 'theirs'\n")
    monkeypatch.setenv("PYTHONPATH", str(studio.folder / "elsewhere"))
    studio.events(*EVENTS[:2])
    studio.file(
        "p.py",
        """
        import os, sys, vendored
        from shop.rates import RATE
        def apply(state, event):
            state.update(rate=RATE, name=vendored.NAME, at=os.getcwd(), prefix=sys.prefix)
        """,
    )
    [(_, _, state), *_] = studio.changes(_fold(studio, python))
    assert (state["rate"], state["name"]) == (7, "theirs")
    assert state["at"] == str(studio.folder)
    assert "bare" in state["prefix"]
