"""The projection contract: in every shape, the history equals that of a plain left fold."""

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.projection_studio import Studio
from tests.support.properties import examples

BODY = """
def initial(key):
    return {"key": key, "log": []}

def key(event):
    to = event.data.get("to")
    if to == "none":
        return None
    return [event.stream, to] if to else event.stream

def apply(state, event, key):
    if event.data["n"] == 13:
        state["log"].append("half")
        raise ValueError("thirteen")
    state["log"].append([key, event.type, event.data["n"]])

def on_Renewed(state, event):
    return {"renewed": event.data["n"], "log": []}

def on_Closed(state, event):
    return event.DELETED
"""


UNROUTED = BODY.replace("def key(event)", "def _key(event)")


def _method(body: str) -> str:
    lines = body.replace("(", "(self, ").replace("(self, key), ", "(key, ").splitlines()
    return "\n".join(
        "    " + (line if line.startswith("def ") else original)
        for line, original in zip(lines, body.splitlines(), strict=True)
    )


SHAPES = {
    "module": ("p.py", BODY),
    "class": ("p.py:Shop", "class Shop:\n" + _method(BODY)),
    "object": ("p.py:shop", "class Shop:\n" + _method(BODY) + "\nshop = Shop()\n"),
}


def reference_fold(events: list[tuple[str, str, dict[str, Any]]]) -> list[tuple[int, str, Any]]:
    """Return the history of `BODY`, computed by a plain fold over all events."""
    documents: dict[str, Any] = {}
    changes = []
    for offset, (stream, kind, data) in enumerate(events):
        to = data.get("to")
        keys = [] if to == "none" else [stream, to] if to else [stream]
        for key in sorted(set(keys)):
            before = documents.get(key)
            after = copy.deepcopy(before) or {"key": key, "log": []}
            if kind == "Closed":
                after = None
            elif kind == "Renewed":
                after = {"renewed": data["n"], "log": []}
            elif data["n"] == 13:
                continue
            else:
                after["log"].append([key, kind, data["n"]])
            documents[key] = after
            if after != before:
                changes.append((offset, key, after))
    return changes


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["Opened", "Renewed", "Closed", "Ticked"]),
        st.fixed_dictionaries(
            {"n": st.sampled_from([1, 2, 13])},
            optional={"to": st.sampled_from(["a", "x", "none"])},
        ),
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.parametrize("shape", SHAPES)
@settings(
    max_examples=examples(3),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events=EVENTS)
def test_the_history_equals_a_plain_fold(new_studio: Any, shape: str, events: Any) -> None:
    studio = new_studio()
    studio.events(*events)
    text, source = SHAPES[shape]
    studio.file("p.py", source)
    folded = studio.fold(text)
    assert studio.changes(folded) == reference_fold(events)
    assert folded.next_offset == len(events)


@settings(max_examples=examples(100), deadline=None)
@given(
    events=EVENTS,
    careful=st.booleans(),
    cut=st.integers(1, 30),
    cool=st.booleans(),
    routed=st.booleans(),
)
def test_batches_of_any_size_give_the_same_history(
    worker: Any,
    tmp_path_factory: Any,
    events: Any,
    careful: bool,
    cut: int,
    cool: bool,
    routed: bool,
) -> None:
    """Also if documents are kept as JSON only between batches, and if the stream is the key."""
    if not routed:
        events = [(stream, kind, {"n": data["n"]}) for stream, kind, data in events]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.fold.documents, "_RECENT_CHANGES", -1 if cool else 1_000)
        found = in_process(worker, tmp_path_factory, events, careful, cut, routed)
    assert found == reference_fold(events)


def in_process(
    worker: Any, folders: Any, events: Any, careful: bool, cut: int, routed: bool
) -> Any:
    import pyarrow as pa

    from replay.worker_host import event_frame

    file = folders.mktemp("p") / "p.py"
    file.write_text(BODY if routed else UNROUTED)
    projection = worker.fold.contract.load_projection(str(file), None)
    decode = worker.protocol.event.build_decoder(decimals=False)
    calls = worker.environment.calls.CallDispatcher([0, 0], None)
    folder = worker.fold.fast_path.build_fold_engine(
        projection, decode, [0, 0], calls, careful=careful
    )
    found = []
    for first in range(0, len(events), cut):
        part = events[first : first + cut]
        columns: dict[str, Any] = {
            name: pa.nulls(len(part), pa.string()) for name in event_frame.EVENT_COLUMNS
        }
        columns["offset"] = pa.array(range(first, first + len(part)), pa.int64())
        columns["time"] = columns["revision"] = pa.nulls(len(part), pa.int64())
        columns["stream"] = pa.array([e[0] for e in part])
        columns["type"] = pa.array([e[1] for e in part])
        columns["data"] = pa.array([json.dumps(e[2]) for e in part])
        header, parts = event_frame.build_event_frame(pa.table(columns))
        buffers = [bytes(memoryview(p).cast("B")) for p in parts]
        folder.release_memory()
        result = folder.fold(worker.protocol.event.EventBatch(header, buffers, decode))
        for row, key, state in zip(result.event_rows, result.keys, result.states, strict=True):
            found.append((first + row, key, None if state is None else json.loads(state)))
    return sorted(found, key=lambda change: change[:2])


def test_parameters_named_key_and_gateway_and_a_third_one_are_filled(studio: Studio):
    studio.events(("a", "One", {}), ("a", "Two", {}), ("a", "Three", {}), ("a", "Four", {}))
    studio.file(
        "p.py",
        """
        def on_One(state, event, key): state["one"] = key
        def on_Two(state, event, gateway, key): state["two"] = [key, hasattr(gateway, "query")]
        def on_Three(state, event, world): state["three"] = hasattr(world, "command")
        def on_Four(state, event, spare="kept", *rest, **more): state["four"] = spare
        """,
    )
    assert studio.changes(studio.fold())[-1][2] == {
        "one": "a",
        "two": ["a", True],
        "three": True,
        "four": "kept",
    }


def test_a_gateway_call_without_a_recording_is_a_failure(studio: Studio):
    studio.events(("a", "T", {}))
    studio.file("p.py", "def apply(state, event, gateway): gateway.query('fx', 'rate')\n")
    [failure] = studio.failures(studio.fold())
    assert "fx.rate" in failure.error


def test_a_deleted_document_starts_again_from_its_initial_state(studio: Studio):
    studio.events(("a", "T", {}), ("a", "T", {}), ("a", "Gone", {}), ("a", "Gone", {}))
    studio.events(("a", "T", {}))
    studio.file(
        "p.py",
        """
        def initial(key): return {"n": 10}
        def on_T(state, event): state["n"] += 1
        def on_Gone(state, event): return event.DELETED
        """,
    )
    folded = studio.fold()
    assert studio.changes(folded) == [
        (0, "a", {"n": 11}),
        (1, "a", {"n": 12}),
        (2, "a", None),
        (4, "a", {"n": 11}),
    ]
    assert folded.document_count == 1


def test_decimals_keep_their_digits_only_with_decimals_set(studio: Studio):
    record = '{"id":"%d","stream":"a","type":"T","data":{"n":0.10}}\n'
    studio.log.write_text(record % 0 + record % 1)
    studio.events()
    source = "def apply(state, event): state['sum'] = state.get('sum', 0) + event.data['n']\n"
    studio.file("exact.py", "DECIMALS = True\n" + source)
    studio.file("floats.py", source)
    end = len("ab") - 1
    assert studio.history("exact.py").state_at("a", end).state == '{"sum":0.20}'
    assert studio.history("floats.py").state_at("a", end).state == '{"sum":0.2}'


def test_an_upcast_event_is_routed_and_handled_in_its_new_form(studio: Studio):
    studio.events(("a", "Old", {"name": "x"}), ("a", "New", {"title": "y"}))
    studio.file(
        "p.py",
        """
        from types import SimpleNamespace
        def upcast(event):
            if event.type == "Old":
                return SimpleNamespace(
                    type="New", stream="to-" + event.stream, data={"title": event.data["name"]}
                )
        def on_New(state, event): state["title"] = event.data["title"]
        """,
    )
    assert studio.changes(studio.fold()) == [(0, "to-a", {"title": "x"}), (1, "a", {"title": "y"})]


@pytest.mark.parametrize("upcast", ["1 / 0", "{}"])
def test_an_upcast_that_fails_is_a_failure_at_its_event(studio: Studio, upcast):
    studio.events(("a", "T", {"n": 0}), ("a", "T", {"n": 1}), ("a", "T", {"n": 2}))
    studio.file(
        "p.py",
        f"""
        def upcast(event): return {upcast} if event.data["n"] == 1 else None
        def apply(state, event): state["n"] = event.data["n"]
        """,
    )
    folded = studio.fold()
    assert [f.offset for f in studio.failures(folded)] == [1]
    assert studio.changes(folded) == [(0, "a", {"n": 0}), (2, "a", {"n": 2})]


@pytest.mark.parametrize(
    ("returned", "keys"),
    [
        ("[None, 'x']", ["x"]),
        ("('x' for _ in range(2))", ["x"]),
        ("7", ["7"]),
        ("[]", []),
        ("'\\ud800'", ["\\ud800"]),
        ("'a\\0b'", ["a\0b"]),
        ("'ключ'", ["ключ"]),
    ],
)
def test_keys_of_every_kind(studio: Studio, returned, keys):
    studio.events(("a", "T", {}))
    studio.file("p.py", f"def key(event): return {returned}\ndef apply(s, e): s['n'] = 1\n")
    history = studio.history()
    assert history.keys_changed_at(0) == keys
    assert all(history.state_at(key, 0) for key in keys)


@pytest.mark.parametrize("returned", ["{'a': 1}", "b'a'"])
def test_an_invalid_key_is_a_failure(studio: Studio, returned):
    studio.events(("a", "T", {}))
    studio.file("p.py", f"def key(event): return {returned}\ndef apply(s, e): s['n'] = 1\n")
    [failure] = studio.history().failures()
    assert "Return a key, a list of keys, or None." in failure.error


def test_a_version_that_only_looks_like_a_number_is_text(studio: Studio):
    events = [{"id": v, "stream": "a", "type": "T", "version": v, "data": {}} for v in ("2", "²")]
    studio.events(*events)
    studio.file("p.py", "def apply(state, event): state[str(event.offset)] = event.version\n")
    assert studio.changes(studio.fold())[-1][2] == {"0": 2, "1": "²"}
