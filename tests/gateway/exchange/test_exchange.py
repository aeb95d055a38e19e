"""Import and export of cassettes, HAR files and journals; assignment of their calls to events."""

import gzip
import json

import pytest
import yaml

from gateway import call_assignment, recording_store
from gateway.exchange import import_export
from storage.errors import SourceError
from tests.support.gateway_caller import Caller, Outside

EVENTS = [
    {
        "id": "e0",
        "stream": "a",
        "type": "T",
        "time": "2025-01-01T00:00:00Z",
        "correlation_id": "c0",
        "data": {},
    },
    {
        "id": "e1",
        "stream": "a",
        "type": "T",
        "time": "2025-01-01T00:01:00Z",
        "correlation_id": "c1",
        "data": {},
    },
    {"id": "e2", "stream": "a", "type": "T", "time": "2025-01-01T00:02:00Z", "data": {}},
]
ASKS = """
import requests
def apply(state, event):
    r = requests.get("https://api.example/v1/rate", params={"b": 2, "a": 1})
    state["status"], state["said"] = r.status_code, r.json()
"""


def cassette(*answers):
    return yaml.safe_dump(
        {
            "version": 1,
            "interactions": [
                {
                    "request": {
                        "method": "GET",
                        "uri": "https://api.example/v1/rate?a=1&b=2",
                        "body": None,
                        "headers": {"Accept": ["*/*"], "X-Correlation-ID": [correlation]},
                    },
                    "response": {
                        "status": {"code": 200, "message": "OK"},
                        "headers": {
                            "Content-Type": ["application/json"],
                            "Content-Encoding": ["gzip"],
                        },
                        "body": {"string": gzip.compress(json.dumps(answer).encode())},
                    },
                }
                for correlation, answer in answers
            ],
        }
    )


def har(*entries):
    return json.dumps(
        {
            "log": {
                "version": "1.2",
                "entries": [
                    {
                        "startedDateTime": started,
                        "time": 12.5,
                        "request": {
                            "method": "GET",
                            "url": "https://api.example/v1/rate?b=2&a=1",
                            "headers": [],
                        },
                        "response": {
                            "status": 200,
                            "headers": [{"name": "Content-Type", "value": "application/json"}],
                            "content": {"mimeType": "application/json", "text": json.dumps(answer)},
                        },
                    }
                    for started, answer in entries
                ],
            }
        }
    )


def journal(*lines):
    return "".join(json.dumps(line) + "\n" for line in lines)


def take(caller, name, text):
    path = caller.folder / name
    path.write_text(text)
    return import_export.import_recordings(caller.workspace, path, caller.settings().ports)


def test_calls_of_a_cassette_go_to_events_with_their_correlation_id(
    caller: Caller, outside: Outside
):
    caller.events(*EVENTS)
    caller.file("p.py", ASKS)
    result = take(
        caller, "c.yaml", cassette(("c1", {"n": 1}), ("c0", {"n": 0}), ("nobody", {"n": 9}))
    )
    assert (result.call_count, result.assigned_count) == (3, 2)
    folded = caller.replay()
    assert caller.states(folded) == [
        {"status": 200, "said": {"n": 0}},
        {"status": 200, "said": {"n": 1}},
    ]
    assert [f.offset for f in caller.failures(folded)] == [2]
    # A call without a matching event is assigned by hand.
    [left] = [
        one for one in recording_store.iterate_recordings(caller.workspace) if one.offset is None
    ]
    call_assignment.assign_manually(caller.workspace, left.recording_number, 2)
    assert caller.states(caller.replay())[-1] == {"status": 200, "said": {"n": 9}}
    assert outside.count == 0


def test_calls_of_a_har_go_to_the_last_event_before_them(caller: Caller):
    caller.events(*EVENTS)
    caller.file("p.py", ASKS)
    result = take(
        caller,
        "c.har",
        har(
            ("2025-01-01T00:01:30Z", {"n": 1}),
            ("2025-01-01T00:00:01+00:00", {"n": 0}),
            ("2025-01-01T09:00:00Z", {"n": 9}),
            ("2024-01-01T09:00:00Z", {"n": 8}),
        ),
    )
    assert (result.call_count, result.assigned_count) == (4, 2)
    assert [s["said"] for s in caller.states(caller.replay())] == [{"n": 0}, {"n": 1}]
    caller.ports["api.example"] = {"missing": ["latest"]}
    assert [s["said"] for s in caller.states(caller.replay())] == [{"n": 0}, {"n": 1}]


def test_a_journal_names_its_events(caller: Caller):
    caller.events(*EVENTS)
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            state["n"] = gateway.query("fx", "rate", {"b": 2, "a": 1})
        """,
    )
    rate = {"port": "fx", "operation": "rate", "request": {"a": 1, "b": 2}}
    lines = (
        {**rate, "event_id": "e1", "response": 1},
        {**rate, "offset": 0, "response": 0.10},
        {**rate, "correlation_id": "e2", "error": "no rate", "outcome": "error"},
    )
    assert take(caller, "calls.jsonl", journal(*lines)).assigned_count == 3
    folded = caller.replay()
    assert [s["n"] for s in caller.states(folded)] == [0.1, 1]
    assert "no rate" in caller.failures(folded)[0].error


@pytest.mark.parametrize("ending", ["jsonl", "yaml", "har"])
def test_an_exported_file_can_be_imported_with_the_same_result(caller: Caller, new_caller, ending):
    caller.events(*EVENTS)
    caller.file("p.py", ASKS)
    take(caller, "c.har", har(*[(f"2025-01-01T00:0{n}:01Z", {"n": n}) for n in range(3)]))
    folded = caller.replay()
    assert caller.failures(folded) == []
    wanted = caller.states(folded)
    out = caller.folder / f"out.{ending}"
    assert import_export.export_recordings(caller.workspace, out).call_count == 3
    other = new_caller()
    other.events(*EVENTS)
    other.file("p.py", ASKS)
    import_export.import_recordings(other.workspace, out, other.settings().ports)
    if ending == "yaml":  # a cassette has no times
        for one in list(recording_store.iterate_recordings(other.workspace)):
            call_assignment.assign_manually(
                other.workspace, one.recording_number, one.recording_number
            )
    assert other.states(other.replay()) == wanted


def test_bodies_that_are_bytes_stay_bytes(caller: Caller, outside: Outside, new_caller):
    blob = bytes(range(256))
    outside.answer = lambda handler: handler.say(200, blob) or True
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        f"""
        import requests
        def apply(state, event):
            state["hex"] = requests.get("{outside.url}/b").content.hex()
        """,
    )
    caller.record()
    assert caller.states(caller.replay()) == [{"hex": blob.hex()}]
    for ending in ("jsonl", "yaml", "har"):
        out = caller.folder / f"out.{ending}"
        import_export.export_recordings(caller.workspace, out)
        other = new_caller()
        other.events(("a", "T", {}))
        import_export.import_recordings(other.workspace, out, other.settings().ports)
        [one] = recording_store.iterate_recordings(other.workspace)
        assert one.answer.body == blob, ending


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "interactions: !!python/object/apply:os.system ['echo > out']\n"),
        (
            "c.yaml",
            "a: &a [x, x]\nb: &b [*a, *a]\n"
            + "".join(
                f"l{n}: &l{n} [*{'b' if n == 0 else f'l{n - 1}'}, *{'b' if n == 0 else f'l{n - 1}'}]\n"
                for n in range(40)
            )
            + "interactions: [*l39]\n",
        ),
        ("c.yaml", "[" * 100_000),
        ("c.yaml", "interactions:\n- {request: 1}\n"),
        ("c.yaml", "version: 1\n"),
        ("c.yaml", "\x00\x01"),
        ("c.har", '{"log": {"entries": 5}}'),
        ("c.har", "[" * 100_000),
        ("c.har", '{"log"'),
        ("c.jsonl", '{"port": "x"}\n'),
        ("c.jsonl", "{}\n"),
        ("c.jsonl", '{"port": "fx", "operation": "x"}\n'),
        ("c.jsonl", '{"port": "fx", "operation": "x", "offset": -5, "response": 1}\n'),
        ("c.jsonl", "nothing\n"),
        ("c.jsonl", '{"port": "fx", "operation": "x", "kind": "wish", "response": 1}\n'),
        ("c.jsonl", '{"port": "fx", "operation": "x", "time": "yesterday", "response": 1}\n'),
    ],
)
def test_a_broken_or_hostile_file_is_refused_in_one_sentence_and_imports_nothing(
    caller: Caller, name, text
):
    caller.events(*EVENTS)
    with pytest.raises(SourceError) as refused:
        take(caller, name, text)
    assert refused.value.message.endswith(".")
    assert "\n" not in refused.value.message
    assert recording_store.count_recordings(caller.workspace) == 0
    assert not (caller.folder / "out").exists()


def test_importing_the_same_file_twice_adds_nothing(caller: Caller):
    caller.events(*EVENTS)
    line = journal({"port": "fx", "operation": "rate", "event_id": "e0", "response": 1})
    assert take(caller, "c.jsonl", line).call_count == 1
    assert take(caller, "d.jsonl", line).was_imported_before
    assert recording_store.count_recordings(caller.workspace) == 1


def test_a_truncated_journal_imports_nothing(caller: Caller):
    caller.events(*EVENTS)
    good = {"port": "fx", "operation": "rate", "response": 1}
    with pytest.raises(SourceError, match="line 3"):
        take(caller, "c.jsonl", journal(good, good) + "{broken\n")
    assert recording_store.count_recordings(caller.workspace) == 0


def test_a_har_without_bodies_is_reported(caller: Caller):
    caller.events(*EVENTS)
    file = json.loads(har(("2025-01-01T00:00:01Z", 1)))
    file["log"]["entries"][0]["response"]["content"] = {}
    file["log"]["entries"].append(
        {
            "request": {"method": "GET", "url": "https://x/"},
            "response": {"status": 0, "_error": "net::ERR"},
        }
    )
    result = take(caller, "c.har", json.dumps(file))
    assert (result.call_count, result.without_answer_count) == (2, 1)
    outcomes = [
        one.answer.outcome.value for one in recording_store.iterate_recordings(caller.workspace)
    ]
    assert outcomes == ["ok", "error"]
