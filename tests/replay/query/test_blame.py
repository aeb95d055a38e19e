"""Value changes at any path are the same as those of a naive walk through all states."""

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from replay.document import paths
from replay.document.diff import is_same_value
from replay.document.paths import ABSENT
from replay.history.history import History
from replay.query import blame
from storage.errors import QueryError
from storage.log.positions import START
from tests.support.projection_studio import Studio
from tests.support.properties import examples

EVENTS = 150
NAMES = ("a", "b c", "0", 'q"u', "s/l~a", "")
NUMBERS = (
    "0.1",
    "0.10",
    "12345678901234567.25",
    "12345678901234567.26",
    "3",
    "3.0",
    "true",
    "null",
)


def _value(chance: random.Random, depth: int = 0) -> str:
    """A JSON text, so that the digits are the test's own."""
    kind = chance.randrange(3 if depth < 3 else 1)
    inner = [_value(chance, depth + 1) for _ in range(chance.randrange(4))] if kind else []
    if kind == 1:
        return "[" + ",".join(inner) + "]"
    if kind == 2:
        names = chance.sample(NAMES, len(inner))
        members = zip(map(json.dumps, names), inner, strict=True)
        return "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"
    return chance.choice(NUMBERS)


CHANCE = random.Random(7)
STATES: list[tuple[str, str | None]] = [
    (CHANCE.choice("xy"), None if CHANCE.random() < 0.05 else _value(CHANCE)) for _ in range(EVENTS)
]


def _decoded(text: str | None) -> Any:
    return ABSENT if text is None else json.loads(text, parse_float=Decimal)


def _paths(value: Any, path: paths.DocumentPath = ()) -> list[paths.DocumentPath]:
    found = [path]
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value)
    for step, inner in items:
        found += _paths(inner, (*path, step))
    return found


ALL_PATHS = sorted({p for _, text in STATES for p in _paths(_decoded(text))}, key=str)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    studio = Studio(tmp_path_factory.mktemp("blame"))
    with studio.log.open("w") as stream:
        for key, text in STATES:
            kind, data = ("Gone", "0") if text is None else ("Set", text)
            stream.write(f'{{"stream":"{key}","type":"{kind}","data":{{"v":{data}}}}}\n')
    studio.events()
    studio.file(
        "p.py",
        """
        DECIMALS = True
        def on_Set(state, event): return {"v": event.data["v"]}
        def on_Gone(state, event): return event.DELETED
        """,
    )
    return studio.history()


def _naive(
    key: str, path: paths.DocumentPath, after: int, until: int
) -> list[tuple[int, Any, Any]]:
    found, before = [], ABSENT
    for offset, (of, text) in enumerate(STATES):
        if of != key:
            continue
        now = paths.get_value_at(_decoded(text), path)
        if not (now is ABSENT and before is ABSENT) and not is_same_value(before, now):
            found.append((offset, before, now))
        before = now
    return [touch for touch in found if after < touch[0] <= until]


@example(key="x", path=(), bounds=(0, 10), backwards=False)  # 0.10 becomes 0.1
@settings(max_examples=examples(250), deadline=None)
@given(
    key=st.sampled_from("xy"),
    path=st.sampled_from([*ALL_PATHS, ("no",), ("a", 0, "0")]),
    bounds=st.tuples(st.integers(START, EVENTS), st.integers(START, EVENTS)),
    backwards=st.booleans(),
)
def test_every_change_of_a_value_is_found(history: History, key, path, bounds, backwards):
    after, until = sorted(bounds)
    found = blame.find_value_changes(
        history, key, ("v", *path), after=after, until=until, backwards=backwards
    )
    wanted = _naive(key, path, after, until)
    told = [(t.offset, repr(t.before), repr(t.after)) for t in found]
    expected = [(o, repr(b), repr(a)) for o, b, a in (wanted[::-1] if backwards else wanted)]
    assert told == expected


def test_the_whole_document_changes_with_every_state(history: History):
    found = blame.find_value_changes(history, "x", (), after=START, until=EVENTS)
    assert [t.offset for t in found] == [
        row[0] for row in history.value_changes("x", (), after=START, until=EVENTS, backwards=False)
    ]


STEPS = st.one_of(st.integers(0, 30), st.text(max_size=5))


@given(path=st.lists(STEPS, max_size=4).map(tuple))
def test_what_is_written_is_read_back(path):
    assert paths.parse_path(paths.format_path(path)) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("$", ()),
        ("items.sku-7.qty", ("items", "sku-7", "qty")),
        ("lines[0].qty", ("lines", 0, "qty")),
        ('$."a b".c', ("a b", "c")),
        ('$["a.b"][2]', ("a.b", 2)),
    ],
)
def test_the_ways_to_write_a_path(text, path):
    assert paths.parse_path(text) == path


@pytest.mark.parametrize("text", ["a..b", "a[", "a[x]", 'a."b', "a]b", "."])
def test_invalid_path_raises_one_line(text):
    with pytest.raises(QueryError, match="Invalid path") as caught:
        paths.parse_path(text)
    assert "\n" not in caught.value.message
