"""A document in parts reports exactly the changes of each event."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.properties import examples

NAMES = st.sampled_from(["a", "b", "c", "d/e", "f~g", ""])
VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text("xü", max_size=30),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(NAMES, inside, max_size=4),
    max_leaves=8,
)
PATHS = st.lists(NAMES, max_size=3)


def _set(state: Any, name: str, value: Any) -> None:
    state[name] = value


def _set_twice(state: Any, name: str, value: Any) -> None:
    """Change the value again after it was set."""
    inside = {"first": value}
    state[name] = inside
    inside["second"] = [1]


def _drop(state: Any, name: str, _: Any) -> None:
    del state[name]


def _pop(state: Any, name: str, value: Any) -> None:
    state.pop(name, None)
    state["popped"] = value


def _pop_last(state: Any, _: str, __: Any) -> None:
    if state:
        state.popitem()


def _again(state: Any, name: str, _: Any) -> None:
    """Remove a member and add it again at the end."""
    state[name] = state.pop(name)


def _rename(state: Any, name: str, _: Any) -> None:
    state["renamed"] = state.pop(name)


def _swap(state: Any, name: str, _: Any) -> None:
    other = next(iter(state))
    state[name], state[other] = state[other], state[name]


def _alias(state: Any, name: str, _: Any) -> None:
    state["alias"] = state[name]


def _clear(state: Any, _: str, __: Any) -> None:
    state.clear()


def _update(state: Any, name: str, value: Any) -> None:
    state.update({name: value}, more=value)
    state |= {"most": [value]}


def _default(state: Any, name: str, value: Any) -> None:
    inside = state.setdefault(name, {})
    if isinstance(inside, dict):
        inside["n"] = value
    elif isinstance(inside, list):
        inside.append(value)


def _each(state: Any, name: str, value: Any) -> None:
    for inside in state.values():
        if isinstance(inside, list):
            inside.append(value)
        if isinstance(inside, dict):
            inside[name] = value


def _sorted(state: Any, _: str, __: Any) -> None:
    members = sorted(state.items())
    state.clear()
    state.update(members)


def _fail(state: Any, name: str, value: Any) -> None:
    state[name] = value
    for inside in list(state.values()):
        if isinstance(inside, (list, dict)):
            inside.clear()
    state.pop(next(iter(state)))
    raise ValueError("no")


CHANGES = [
    _alias,
    _set,
    _set_twice,
    _drop,
    _pop,
    _pop_last,
    _again,
    _rename,
    _swap,
    _clear,
    _update,
]
CHANGES += [_default, _each, _sorted, _fail]


def _inside(state: Any, path: list[str]) -> Any:
    """Return the object at a path; stop at the first value that is not an object."""
    for name in path:
        if isinstance(state.get(name), dict):
            state = state[name]
    return state


def _copied(state: Any, path: list[str], name: str, value: Any) -> Any:
    """Return a new state, as a handler without mutation builds it."""
    if not path:
        return {**state, name: value}
    inside = state.get(path[0])
    inner = _copied(inside if isinstance(inside, dict) else {}, path[1:], name, value)
    return {**state, path[0]: inner}


EVENTS = st.lists(
    st.tuples(st.sampled_from([*CHANGES, _copied]), PATHS, NAMES, VALUES), min_size=1, max_size=12
)


def _handle(state: Any, event: Any) -> Any:
    change, path, name, value = event
    value = copy.deepcopy(value)
    if change is _copied:
        return _copied(state, path, name, value)
    change(_inside(state, path), name, value)
    return None


def _read(parts: dict[str, Any]) -> str:
    """Return the document that the parts form, by the rules of `storage.workspace.document_parts`."""
    opened: dict[str, Any] = {"": {}}
    for path, (_, text) in sorted(parts.items(), key=lambda part: part[1][0]):
        if path:
            above, _, step = path.rpartition("/")
            value = json.loads(text)
            opened[above][step.replace("~1", "/").replace("~0", "~")] = value
            if text == b"{}":
                opened[path] = value
    return json.dumps(opened[""])


def _report_parts(worker: Any, tell: Any, *state: Any) -> list[Any]:
    """Return the reported parts: path, place and JSON."""
    columns = worker.fold.result.PartColumns()
    tell(*state, columns, 7)
    assert list(columns.change_rows) == [7] * len(columns.paths)
    places: dict[int, Any] = {}
    at = 0
    for row, depth in zip(columns.placed_rows, columns.depths, strict=True):
        places[row] = tuple(columns.place_numbers[at : at + depth])
        at += depth
    return [
        (path, places.get(row), text)
        for row, (path, text) in enumerate(zip(columns.paths, columns.states, strict=True))
    ]


def _keep(kept: dict[str, Any], rows: Any) -> None:
    for path, place, text in rows:
        if text is None:
            kept.pop(path, None)
        else:
            kept[path] = (place if place is not None else kept[path][0], text)


@pytest.fixture(scope="module")
def small(worker: Any) -> Any:
    """The module, with a limit of about 20 bytes for an object in one part."""
    module = worker.fold.part_tree
    module.MAX_OBJECT_PART_BYTES = 20
    yield worker.fold.document_parts
    module.MAX_OBJECT_PART_BYTES = 1 << 10


def _parts(small: Any, worker: Any, *, careful: bool) -> Any:
    encoding = worker.protocol.encoding
    encode = encoding.encode_exactly if careful else encoding.build_plain_encoder()
    return small.DocumentParts(encode, json.loads, exact_encoding=careful)


@pytest.mark.parametrize("careful", [False, True], ids=["plain", "careful"])
@settings(max_examples=examples(300), deadline=None)
@given(state=st.dictionaries(NAMES, VALUES, max_size=5), events=EVENTS)
def test_reported_parts_equal_the_whole_document(
    small: Any, worker: Any, careful: bool, state: dict[str, Any], events: Any
) -> None:
    state = copy.deepcopy(state)
    parts = _parts(small, worker, careful=careful)
    kept: dict[str, Any] = {}
    _keep(kept, _report_parts(worker, parts.split_state, copy.deepcopy(state)))
    for event in events:
        before = json.dumps(state)
        try:
            state = _handle(state, event) or state
        except (ValueError, KeyError, StopIteration, TypeError, RecursionError):
            state = json.loads(before)
        state = json.loads(json.dumps(state))
        try:
            returned = _handle(parts.root, event)
            if not careful and not parts.changes_are_plain(returned):
                return  # the fold would restart with exact encoding
            rows = _report_parts(worker, parts.settle, returned)
        except small.NotSplittableError:
            whole = parts.to_plain_state(returned)
            assert json.dumps(whole) == json.dumps(state)
            _keep(kept, _report_parts(worker, parts.report_all_removed))
            assert not kept
            return
        except (ValueError, KeyError, StopIteration, TypeError, RecursionError):
            parts.take_back()
            rows = []
        assert all(kept.get(path, (None, None))[1] != text or place for path, place, text in rows)
        _keep(kept, rows)
        assert _read(kept) == json.dumps(state) == json.dumps(parts.root)
        assert parts.matches_report()
    again = _parts(small, worker, careful=careful)
    rows = sorted(((p, *of) for p, of in kept.items()), key=lambda row: row[1])
    again.restore(rows, 10**6)
    assert json.dumps(again.root) == json.dumps(state)
    assert again.matches_report()
    assert again.round_trips_json()
