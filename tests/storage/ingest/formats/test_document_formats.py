"""Events that aren't a line each: JSON documents, XES, what Kafka's console consumer prints."""

import gzip
import json
from typing import Any

import pytest

from storage.errors import SourceError
from tests.storage.ingest.envelopes.test_envelopes import SHAPES, check


def documents() -> dict[str, str]:
    rows = [{"type": "Placed", "stream": "o-1", "data": {"n": n, "text": "é\n"}} for n in range(3)]
    exact = [json.dumps(row).replace('"n": 1', '"n": 1.10') for row in rows]
    pretty = [json.dumps(row, indent=2).replace('"n": 1', '"n": 1.10') for row in rows]
    return {
        "a list": f"[{', '.join(exact)}]",
        "a list over lines": "[\n" + ",\n".join(pretty) + "\n]\n",
        "one after another": "\n".join(pretty) + "\n",
        "in a member": '{"version": 1, "events": [' + ",".join(exact) + "]}",
        "in a member over lines": '{\n "objects": [],\n "Records": [\n'
        + ",\n".join(pretty)
        + "]\n}",
        "in a history": '{"history": {"events": [' + ",".join(exact) + "]}}\n",
        "with a byte order mark": "\ufeff[" + ",".join(exact) + "]",
    }


@pytest.mark.parametrize("name", documents())
@pytest.mark.parametrize("packed", [False, True])
def test_documents(desk: Any, name: str, packed: bool) -> None:
    content = documents()[name].encode()
    loaded = desk.load(
        desk.write(gzip.compress(content) if packed else content, "log.json" + ".gz" * packed)
    )
    assert loaded.format == "json"
    assert desk.column("type") == ["Placed"] * 3
    assert ['"n":1.10' in text.replace(" ", "") for text in desk.column("data")] == [
        False,
        True,
        False,
    ]
    assert [json.loads(text)["text"] for text in desk.column("data")] == ["é\n"] * 3
    assert desk.load(desk.folder / ("log.json" + ".gz" * packed)).appended == 0


def test_an_event_a_file(desk: Any) -> None:
    for n in range(12):
        desk.write(json.dumps({"type": "Ping", "data": {"n": n}}, indent=1), f"event-{n}.json")
    desk.load(f"{desk.folder}/event-*.json")
    assert [json.loads(text)["n"] for text in desk.column("data")] == list(range(12))


def test_one_event_a_line_is_no_document(desk: Any) -> None:
    assert desk.load(desk.write('{"type":"A"}\n{"type":"B"}\n', "log.json")).format == "jsonl"
    assert desk.load(desk.write('{"type":\n{"type":"B"}\n'), replace=True).format == "jsonl"


@pytest.mark.parametrize(
    "content",
    ['[{"type":"A"},', '[{"type":"A"} {}]', '{\n"a": 1,\n', '{\n"a": 1\n}\n{\n"a"', "[1,]"],
)
def test_damaged_documents_are_refused(desk: Any, content: str) -> None:
    with pytest.raises(SourceError, match="JSON document that can't be read"):
        desk.load(desk.write(content, "log.json"))
    assert not desk.target.exists()


def test_what_is_no_object_is_a_reject(desk: Any) -> None:
    desk.load(desk.write('[{"type":"A"}, 7, "x", null, [], {"type":"B"}]', "log.json"))
    assert desk.column("type") == ["A", "B"]
    assert [line for line, _, _ in desk.rejects()] == [2, 3, 4, 5]


def test_a_feed_that_is_newest_first_is_turned_round(desk: Any) -> None:
    shape = SHAPES["kurrentdb atom"]
    feed = {"title": "stream", "entries": shape.records[::-1]}
    check(desk, desk.load(desk.write(json.dumps(feed), "feed.json")), shape)
    assert desk.column("revision") == [0, 1]


def test_ocel_and_temporal_as_documents(desk: Any) -> None:
    for name, others in (
        ("ocel", {"eventTypes": [], "objectTypes": [], "objects": []}),
        ("temporal", {}),
    ):
        shape = SHAPES[name]
        path = desk.write(json.dumps({**others, "events": shape.records}, indent=1), "log.json")
        check(desk, desk.load(path, replace=True), shape)


XES = """<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment --><log xmlns="http://www.xes-standard.org/">
<extension name="Concept" prefix="concept" uri="x"/>
<string key="source" value="generated"/>
<trace><string key="concept:name" value="7"/><float key="amount" value="1.50"/>
<event><string key="concept:name" value="Register &lt;b&gt;"/>
<date key="time:timestamp" value="2026-01-03T12:00:00.000+00:00"/><int key="cost" value="3"/>
<list key="parts"><values><string key="concept:name" value="inner"/></values></list></event>
<event><string key="concept:name" value="Pay"/><boolean key="late" value="true"/>
<date key="time:timestamp" value="2026-01-03T12:00:01.000+00:00"/></event></trace>
<trace><string key="concept:name" value="8"/><event><string key="concept:name" value="Pay"/>
<date key="time:timestamp" value="2026-01-03T12:00:02.000+00:00"/></event></trace></log>
"""


@pytest.mark.parametrize("name", ["log.xes", "log.xes.gz"])
def test_xes(desk: Any, name: str) -> None:
    content = XES.encode()
    loaded = desk.load(desk.write(gzip.compress(content) if name.endswith("gz") else content, name))
    assert loaded.format == "xes"
    assert desk.column("stream") == ["7", "7", "8"]
    assert desk.column("type") == ["Register <b>", "Pay", "Pay"]
    assert desk.column("epoch(time)::BIGINT - 1767441600") == [0, 1, 2]
    assert desk.column("data")[0] == '{"case:amount":1.50,"cost":3,"parts":""}'


def test_damaged_and_hostile_xes(desk: Any) -> None:
    with pytest.raises(SourceError, match="Check that the file is complete"):
        desk.load(desk.write(XES[:-40], "log.xes"))
    bomb = '<!DOCTYPE log [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><log><trace/></log>'
    with pytest.raises(SourceError, match="entities"):
        desk.load(desk.write(bomb, "log.xes"))


def console(*parts: str) -> str:
    return "\t".join(parts)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (console("CreateTime:1767441600000", '{"n":0.10}'), (None, None, None)),
        (console("CreateTime:1767441600000", "NO_HEADERS", '{"n":0.10}'), (None, None, None)),
        (console("CreateTime:1767441600000", "o-1", '{"n":0.10}'), (None, "o-1", None)),
        (
            console("CreateTime:1767441600000", "Partition:3", "Offset:9", "o-1", '{"n":0.10}'),
            ("3:9", "o-1", None),
        ),
        (
            console(
                *("LogAppendTime:1767441600000", "Partition:3", "Offset:9"),
                *("type:Placed,trace:a:b", "o-1", '{"n":0.10}'),
            ),
            ("3:9", "o-1", "Placed"),
        ),
        (
            console("CreateTime:1767441600000", "Offset:9", "NO_HEADERS", "null", '{"n":0.10}'),
            ("9", None, None),
        ),
    ],
)
def test_console_consumer(desk: Any, line: str, wanted: tuple[Any, ...]) -> None:
    path = desk.write(f"{line}\n" * 2, "dump.txt")
    loaded = desk.load(path)
    assert loaded.format == "text+kafka-console-consumer"
    place, key, kind = wanted
    assert desk.column("source_position")[0] == place
    assert desk.column("stream")[0] == (key or "dump")
    assert desk.column("type")[0] == (kind or "message")
    assert desk.column("data") == ['{"n":0.10}'] * 2
    assert desk.column("epoch(time)::BIGINT") == [1767441600] * 2
    desk.grow(path, f"{line}\nnot a record at all\n")
    assert desk.load(path).appended == 2
    assert "not a record at all" in desk.column("data")[3]
