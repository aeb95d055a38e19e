"""The source of an event's handler, and its lines that may change a value; the code never runs."""

import copy
import dataclasses
import hashlib
import json
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.document import paths
from replay.document.diff import find_differences
from replay.handlers.handler_source import HandlerCode
from storage.errors import QueryError
from tests.support.projection_studio import Studio
from tests.support.properties import examples

STATE = {
    "a": {"x": 1, "y": [1, 2]},
    "b": [{"q": 1}, {"q": 2}],
    "c": 1,
    "d": {"k": {"q": 1, "r": 2}, "m": {"q": 3, "r": 4}},
}
KEY = "k"
STATEMENTS = {
    # A statement, and the paths that it may change; * is any step.
    'state["c"] = 5': ["c"],
    'state["c"] += 1': ["c"],
    'state["a"]["x"] = 7': ["a.x"],
    'state["d"][KEY]["q"] += 1': ["d.*.q"],
    'state.setdefault("e", {})["z"] = 1': ["e"],
    'state["b"].append({"q": 3})': ["b.*"],
    'state["b"][0]["q"] = 9': ["b.0.q"],
    'del state["a"]["y"]': ["a.y"],
    'state["d"].pop("m", None)': ["d.m"],
    'state.update({"c": 8, "f": 1}, g=2)': ["c", "f", "g"],
    'part = state["d"].get(KEY); part["r"] = 0': ["d.*.r"],
    'part = dict(state["d"]); part["m"] = 0': [],
    'part = state["a"]; part = {}; part["x"] = 0': [],
    'part = state["a"] if state["c"] else state["d"]; part["x"] = 0': ["a.x", "d.x"],
    'for part in state["b"]: part["q"] = 0': ["b.*.q"],
    'for _, part in state["d"].items(): part["r"] += 1': ["d.*.r"],
    'for part in sorted(state["a"]["y"]): state["c"] = part': ["c"],
    'if (part := state["a"])["x"]: part["y"].reverse()': ["a.y.*"],
    'total = state["a"]["x"]; total += 1': [],
    'state["c"], state["h"] = 2, 3': ["c", "h"],
    'state["a"] |= {"x": 0}': ["a"],
    'helper(state["d"], 3)': ["d.k.q"],
    'helper(amount=3, part=state["a"])': ["a.k.q"],
    'state["c"] = measure(state)': ["c"],
    '[part.clear() for part in state["b"]]': ["b.*.*"],
    'state["a"]["y"][-1] = 0': ["a.y.*"],
    'f"{state}".strip(); len(state["a"])': [],
    'setattr(state, "c", 1) if state is None else None': ["c"],
}
HELPERS = """
def helper(part, amount):
    part.setdefault("k", {})["q"] = amount
    return amount

def measure(state):
    return len(state)
"""
PATHS = [
    *("", "a", "a.x", "a.y", "a.y[0]", "b", "b[0]", "b[0].q", "b[1].q", "c", "d", "d.k", "d.k.q"),
    *("d.m", "d.m.r", "d.m.q", "e", "e.z", "f", "g", "h"),
]


def code(studio: Studio, source: str, name: str = "") -> HandlerCode:
    studio.file("p.py", source)
    return HandlerCode(studio.fold("p.py" + name))


def marked(found: Any, path: str) -> list[str]:
    lines = found.lines_changing([paths.parse_path(path)])
    return [found.lines[number - found.first_line].strip() for number in sorted(lines)]


def _above_or_below(place: str, path: paths.DocumentPath) -> bool:
    steps = place.split(".")
    return all(a in ("*", str(b)) for a, b in zip(steps, path, strict=False))


@pytest.fixture(scope="module")
def studio_of_one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Studio, Any]:
    studio = Studio(tmp_path_factory.mktemp("source"))
    studio.events(("s", "T", {}))
    studio.file("p.py", "def apply(s, e): pass\n")
    return studio, studio.fold()


@settings(deadline=None, max_examples=examples(60))
@given(
    chosen=st.lists(st.sampled_from(sorted(STATEMENTS)), min_size=1, max_size=5),
    path=st.sampled_from(PATHS),
)
def test_exactly_the_lines_that_may_change_a_value_are_marked(
    studio_of_one: tuple[Studio, Any], chosen, path
):
    studio, folded = studio_of_one
    source = "def apply(state, event):\n" + "".join(f"    {s}\n" for s in chosen) + HELPERS
    file = studio.file("p.py", source)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    found = HandlerCode(dataclasses.replace(folded, files={str(file): digest})).find_handler("T")
    wanted = paths.parse_path(path)
    expected = {
        n
        for n, statement in enumerate(chosen, 2)
        if any(_above_or_below(place, wanted) for place in STATEMENTS[statement])
    }
    assert found.lines_changing([wanted]) == expected


@pytest.mark.parametrize("statement", sorted(STATEMENTS))
def test_a_statement_changes_the_paths_that_are_reported(statement):
    state: Any = copy.deepcopy(STATE)
    names: dict[str, Any] = {"KEY": KEY, "state": state}
    exec(HELPERS, names)
    exec(statement, names)
    for difference in find_differences(STATE, json.loads(json.dumps(state))):
        assert any(_above_or_below(p, difference.path) for p in STATEMENTS[statement])


def test_a_module_with_functions_and_apply(studio: Studio):
    studio.events(("a", "Order Placed!", {}), ("a", "Other", {}))
    found = code(
        studio,
        """
        LIMIT = 3

        @staticmethod
        def on_Order_Placed_(state, event):
            state["n"] = (
                1
            )

        def apply(s, event, gateway):
            s["n"] = 2
        """,
    )
    placed = found.find_handler("Order Placed!")
    assert (placed.name, placed.first_line, len(placed.lines)) == ("on_Order_Placed_", 4, 5)
    assert marked(placed, "n") == ['state["n"] = (', "1", ")"]
    other = found.find_handler("Other")
    assert other.name == "apply"
    assert marked(other, "n") == ['s["n"] = 2']
    assert found.find_handler(None).name == "apply"


@pytest.mark.parametrize("name", [":Orders", ":orders"])
def test_a_class_its_bases_and_objects_of_it(studio: Studio, name):
    studio.events(("a", "T", {}), ("a", "U", {}))
    found = code(
        studio,
        """
        class Base:
            def on_T(self, state, event):
                self._note(state)

            def _note(self, state):
                state["note"] = 1

        class Orders(Base):
            @staticmethod
            def on_U(state, event): state["u"] = 1

        orders = Orders()
        """,
        name,
    )
    assert marked(found.find_handler("T"), "note") == ["self._note(state)"]
    assert marked(found.find_handler("U"), "u") == ['def on_U(state, event): state["u"] = 1']
    assert marked(found.find_handler("U"), "note") == []


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ('return {**state, "n": 1,\n        "m": 2}', {"n": ['return {**state, "n": 1,'], "x": []}),
        ("return dict(state, n=1)", {"n": ["return dict(state, n=1)"], "x": []}),
        ('return state | {"n": 1}', {"n": ['return state | {"n": 1}'], "x": []}),
        ("return event.data", {"n": ["return event.data"], "x": ["return event.data"]}),
        ("return state", {"n": []}),
        ("return", {"n": []}),
        (
            'new = dict(state)\n    new["n"] = 1\n    return new',
            {"n": ['new["n"] = 1'], "x": []},
        ),
        (
            'if event.x:\n        state = state["n"]\n        return None\n    state["a"] = 1',
            {"n.a": [], "a": ['state["a"] = 1']},
        ),
    ],
)
def test_a_handler_that_returns_a_new_state(studio: Studio, body, changed):
    studio.events(("a", "T", {}))
    studio.file("p.py", f"def apply(state, event):\n    {body}\n")
    handler = HandlerCode(studio.fold()).find_handler("T")
    for path, lines in changed.items():
        assert marked(handler, path) == lines, path


def test_a_lambda_and_another_name(studio: Studio):
    studio.events(("a", "T", {}), ("a", "U", {}))
    found = code(
        studio,
        """
        on_T = lambda state, event: state.update(n=1)
        def helper(state, event):
            state["u"] = 1
        on_U = helper
        """,
    )
    assert marked(found.find_handler("T"), "n") == ["on_T = lambda state, event: state.update(n=1)"]
    assert found.find_handler("U").name == "helper"


def test_a_handler_that_cannot_be_shown_is_an_error(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
):
    studio.events(("a", "T", {}))
    file = studio.file("q.py", "def on_T(state, event): state['n'] = 1\n")
    found = code(studio, "from q import on_T\nimport functools\non_U = functools.partial(on_T)\n")
    with pytest.raises(QueryError, match="on_T is imported from q"):
        found.find_handler("T")
    with pytest.raises(QueryError, match=r"on_U .* line 3"):
        found.find_handler("U")
    with pytest.raises(QueryError, match=r"p\.py has no handler for V"):
        found.find_handler("V")
    assert isinstance(found.cached_handler("V"), str)
    assert found.cached_handler("W") is None
    file = studio.file("p.py", "def on_T(state, event): state['n'] = 2\n")
    fresh = HandlerCode(found.fold_record)
    with pytest.raises(QueryError, match=r"p\.py has changed since it was folded"):
        fresh.find_handler("T")
    file.unlink()
    with pytest.raises(QueryError, match="No such file"):
        HandlerCode(found.fold_record).find_handler("T")
    nowhere = SimpleNamespace(reference="shop.orders:X", files={}, name="X")
    with pytest.raises(QueryError, match="The file of X is unknown"):
        HandlerCode(nowhere).find_handler("T")  # type: ignore[arg-type]


def test_lines_found_once_stay_after_the_file_changes(studio: Studio):
    studio.events(("a", "T", {}), ("a", "U", {}))
    found = code(studio, "def on_T(s, e): s['n'] = 1\ndef on_U(s, e): s['n'] = 2\n")
    assert found.find_handler("T").lines == ("def on_T(s, e): s['n'] = 1",)
    studio.file("p.py", "def on_U(s, e): s['n'] = 3\n")
    assert found.find_handler("U").lines == ("def on_U(s, e): s['n'] = 2",)


def test_a_module_that_is_imported_by_name(studio: Studio):
    (studio.folder / "shop").mkdir()
    studio.file("shop/__init__.py", "")
    studio.file("shop/orders.py", "class Orders:\n    def on_T(self, s, e): s['n'] = 1\n")
    studio.events(("a", "T", {}))
    found = HandlerCode(studio.fold("shop.orders:Orders"))
    assert marked(found.find_handler("T"), "n") == ["def on_T(self, s, e): s['n'] = 1"]


def test_finding_a_handler_runs_no_code(studio: Studio):
    studio.events(("a", "T", {}))
    source = textwrap.dedent(
        """
        import pathlib
        if pathlib.Path(__file__).with_name("armed").exists():
            raise SystemExit("run by mistake")
        def apply(state, event): state["n"] = 1
        """
    )
    found = code(studio, source)
    (studio.folder / "armed").touch()
    assert found.find_handler("T").name == "apply"
