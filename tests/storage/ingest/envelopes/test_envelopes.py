"""One contract for all envelopes: records as a system writes them become the events that it means.

The shapes are those of each system's own schema or documentation. Every one is loaded as JSON lines and
as typed columns, and read line by line too.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from storage.ingest.envelopes import ENVELOPES
from storage.ingest.format_detection import detect_mapping
from storage.ingest.formats.jsonl import JsonLines

T = "2026-01-03T12:00:0{}+00:00"
MS = 1767441600000


@dataclass
class Shape:
    """Records of a system, and the events that they are."""

    envelope: str
    records: list[dict[str, Any]]
    events: list[dict[str, Any]]
    """What must hold of each event; times in seconds after noon."""
    order: str = "total"
    flat: bool = True
    """Whether they are rows, and so may come in typed columns too."""
    texts: tuple[str, ...] = field(default=())
    """Columns whose JSON is text in such rows."""


def two(make: Any) -> list[Any]:
    return [make(0), make(1)]


SHAPES = {
    "marten": Shape(
        "marten",
        two(
            lambda n: {
                "seq_id": 7 + n,
                "id": f"0198-{n}",
                "stream_id": "s-1",
                "version": n + 1,
                "data": {"n": n, "price": 1},
                "type": "order_placed",
                "timestamp": T.format(n),
                "tenant_id": "*DEFAULT*",
                "mt_dotnet_type": "Orders.OrderPlaced, Orders",
                "correlation_id": "c",
                "is_archived": False,
            }
        ),
        two(
            lambda n: {
                "type": "order_placed",
                "stream": "s-1",
                "revision": n + 1,
                "source_position": str(7 + n),
                "data": {"n": n, "price": 1},
                "correlation_id": "c",
                "time": n,
            }
        ),
        texts=("data",),
    ),
    "axon": Shape(
        "axon",
        two(
            lambda n: {
                "global_index": 1 + n,
                "aggregate_identifier": "a-1",
                "sequence_number": n,
                "type": "Order",
                "event_identifier": f"e{n}",
                "meta_data": '{"correlationId":"c","traceId":"t"}',
                "payload": f'{{"n":{n}}}',
                "payload_revision": "2",
                "payload_type": "shop.OrderPlaced",
                "time_stamp": T.format(n),
            }
        ),
        two(
            lambda n: {
                "type": "shop.OrderPlaced",
                "stream": "a-1",
                "revision": n,
                "version": "2",
                "id": f"e{n}",
                "correlation_id": "c",
                "causation_id": "t",
                "data": {"n": n},
                "time": n,
            }
        ),
    ),
    "axon 5": Shape(
        "axon",
        two(
            lambda n: {
                "globalIndex": 1 + n,
                "aggregateType": "Order",
                "aggregateIdentifier": "a-1",
                "aggregateSequenceNumber": n,
                "type": "OrderPlaced",
                "version": "1",
                "timestamp": T.format(n),
                "payload": f'{{"n":{n}}}',
                "metadata": "{}",
                "identifier": f"e{n}",
            }
        ),
        two(lambda n: {"type": "OrderPlaced", "revision": n, "id": f"e{n}", "data": {"n": n}}),
    ),
    "eventsourcing": Shape(
        "eventsourcing",
        two(
            lambda n: {
                "notification_id": 1 + n,
                "originator_id": "7e3f",
                "originator_version": n + 1,
                "topic": "shop.orders:Order.Placed",
                "state": json.dumps(
                    {"timestamp": {"_type_": "datetime_iso", "_data_": T.format(n)}, "n": n}
                ),
            }
        ),
        two(lambda n: {"type": "Order.Placed", "stream": "7e3f", "revision": n + 1, "time": n}),
    ),
    "kurrentdb atom": Shape(
        "kurrentdb-atom",
        two(
            lambda n: {
                "eventId": f"e{n}",
                "eventType": "Placed",
                "eventNumber": n,
                "data": f'{{"n": {n}.10}}',
                "metaData": '{"$correlationId": "c"}',
                "streamId": "order-1",
                "isJson": True,
                "isMetaData": False,
                "positionEventNumber": n,
                "positionStreamId": "$ce-order",
                "updated": T.format(n),
            }
        ),
        two(
            lambda n: {
                "type": "Placed",
                "stream": "order-1",
                "revision": n,
                "correlation_id": "c",
                "data": f'{{"n": {n}.10}}',
                "time": n,
            }
        ),
    ),
    "kurrentdb records": Shape(
        "kurrentdb",
        two(
            lambda n: {
                "log_position": 100 + n,
                "created_at": MS + 1000 * n,
                "stream": "order-1",
                "stream_revision": n,
                "schema_name": "Placed",
                "record_id": f"e{n}",
                "data": f'{{"n":{n}}}',
                "metadata": "{}",
            }
        ),
        two(lambda n: {"type": "Placed", "revision": n, "data": {"n": n}, "time": n}),
    ),
    "gaffer": Shape(
        "gaffer",
        two(lambda n: {"eventType": "Placed", "streamId": "order-1", "data": {"n": n}}),
        two(lambda n: {"type": "Placed", "stream": "order-1", "revision": n, "data": {"n": n}}),
        order="the order of the records",
        texts=("data",),
    ),
    "message db": Shape(
        "message-db",
        two(
            lambda n: {
                "global_position": 5 + n,
                "position": n,
                "time": f"2026-01-03 12:00:0{n}",
                "stream_name": "order-1",
                "type": "Placed",
                "data": {"n": n},
                "metadata": {"a": 1},
                "id": f"e{n}",
            }
        ),
        two(lambda n: {"type": "Placed", "stream": "order-1", "revision": n, "time": n}),
        texts=("data", "metadata"),
    ),
    "emmett": Shape(
        "emmett",
        two(
            lambda n: {
                "stream_position": 1 + n,
                "global_position": 9 + n,
                "transaction_id": 700,
                "created": T.format(n),
                "is_archived": False,
                "message_kind": "E",
                "stream_id": "order-1",
                "partition": "emt:default",
                "message_schema_version": "1",
                "message_id": f"e{n}",
                "message_type": "Placed",
                "message_data": {"n": n},
                "message_metadata": {"correlationId": "c"},
            }
        ),
        two(
            lambda n: {
                "type": "Placed",
                "revision": n + 1,
                "correlation_id": "c",
                "data": {"n": n},
                "time": n,
            }
        ),
        texts=("message_data", "message_metadata"),
    ),
    "commanded": Shape(
        "commanded",
        two(
            lambda n: {
                "event_id": f"e{n}",
                "event_type": "Elixir.Shop.Placed",
                "causation_id": None,
                "correlation_id": "c",
                "data": f'{{"n":{n}}}',
                "metadata": "{}",
                "created_at": T.format(n),
                "stream_version": 20 + n,
                "original_stream_id": 3,
                "original_stream_version": n + 1,
                "stream_uuid": "order-1",
            }
        ),
        two(
            lambda n: {
                "type": "Elixir.Shop.Placed",
                "stream": "order-1",
                "revision": n + 1,
                "source_position": str(20 + n),
                "data": {"n": n},
            }
        ),
    ),
    "rails event store": Shape(
        "rails-event-store",
        two(
            lambda n: {
                "id": 1 + n,
                "event_id": f"e{n}",
                "event_type": "OrderPlaced",
                "metadata": {"correlation_id": "c"},
                "data": {"n": n},
                "created_at": "2026-01-03 13:00:00",
                "valid_at": f"2026-01-03 12:00:0{n}",
            }
        ),
        two(lambda n: {"type": "OrderPlaced", "id": f"e{n}", "correlation_id": "c", "time": n}),
        texts=("data", "metadata"),
    ),
    "akka": Shape(
        "akka",
        two(
            lambda n: {
                "ordering": 1 + n,
                "persistence_id": "order|1",
                "sequence_number": n + 1,
                "deleted": False,
                "writer": "w",
                "write_timestamp": MS + 1000 * n,
                "event_ser_id": 33,
                "event_ser_manifest": "Placed",
                "event_payload": "rO0A",
            }
        ),
        two(lambda n: {"type": "Placed", "stream": "order|1", "revision": n + 1, "time": n}),
    ),
    "prooph": Shape(
        "prooph",
        two(
            lambda n: {
                "no": 1 + n,
                "event_id": f"e{n}",
                "event_name": "Placed",
                "payload": {"n": n},
                "metadata": {"_aggregate_id": "o-1", "_aggregate_version": n + 1},
                "created_at": f"2026-01-03 12:00:0{n}",
            }
        ),
        two(lambda n: {"type": "Placed", "stream": "o-1", "revision": n + 1, "time": n}),
        texts=("payload", "metadata"),
    ),
    "outbox": Shape(
        "outbox",
        two(
            lambda n: {
                "id": f"e{n}",
                "aggregatetype": "order",
                "aggregateid": "o-1",
                "type": "Placed",
                "payload": f'{{"n":{n}}}',
            }
        ),
        two(lambda n: {"type": "Placed", "stream": "o-1", "id": f"e{n}", "data": {"n": n}}),
        order="per stream",
    ),
    "debezium": Shape(
        "debezium",
        [
            {
                "before": {"id": 4, "total": "9.50"} if n else None,
                "after": None if n else {"id": 4, "total": "9.50"},
                "source": {
                    "connector": "postgresql",
                    "db": "shop",
                    "schema": "public",
                    "table": "orders",
                    "ts_ms": MS + 1000 * n,
                    "lsn": 55 + n,
                    "snapshot": "false",
                },
                "op": "d" if n else "c",
                "ts_ms": MS + 9000,
                "transaction": None,
            }
            for n in (0, 1)
        ],
        [
            {
                "type": f"orders.{'d' if n else 'c'}",
                "stream": "orders:4",
                "data": {"id": 4, "total": "9.50"},
                "source_position": str(55 + n),
                "time": n,
            }
            for n in (0, 1)
        ],
        order="per partition",
        flat=False,
    ),
    "debezium with its schema": Shape(
        "kafka-connect+debezium",
        two(
            lambda n: {
                "schema": {"type": "struct"},
                "payload": {
                    "before": None,
                    "after": {"id": n},
                    "source": {"db": "shop", "table": "orders", "ts_ms": MS + 1000 * n},
                    "op": "r",
                },
            }
        ),
        two(lambda n: {"type": "orders.r", "stream": f"orders:{n}", "data": {"id": n}, "time": n}),
        order="per partition",
        flat=False,
    ),
    "debezium flattened": Shape(
        "debezium-flat",
        two(lambda n: {"id": 4, "total": n, "__deleted": "false", "__op": "u", "__table": "t"}),
        two(lambda n: {"type": "t.u", "stream": "t:4", "data": {"id": 4, "total": n}}),
        order="per partition",
    ),
    "kcat": Shape(
        "kcat",
        two(
            lambda n: {
                "topic": "orders",
                "partition": 2,
                "offset": 40 + n,
                "tstype": "create",
                "ts": MS + 1000 * n,
                "broker": 0,
                "headers": ["trace", "x", "type", "Placed"],
                "key": "o-1",
                "payload": f'{{"n":{n}.50,"text":"a \\"b\\""}}',
            }
        ),
        two(
            lambda n: {
                "type": "Placed",
                "stream": "o-1",
                "source_position": f"2:{40 + n}",
                "data": f'{{"n":{n}.50,"text":"a \\"b\\""}}',
                "time": n,
            }
        ),
        order="per partition",
        texts=("headers",),
    ),
    "kcat with debezium in it": Shape(
        "kcat+kafka-connect+debezium",
        two(
            lambda n: {
                "topic": "orders",
                "partition": 0,
                "offset": n,
                "tstype": "create",
                "ts": 1,
                "broker": 0,
                "key": "4",
                "payload": json.dumps(
                    {
                        "schema": None,
                        "payload": {
                            "before": None,
                            "after": {"id": 4, "big": 12345678901234567890},
                            "source": {"db": "shop", "table": "orders", "ts_ms": MS + 1000 * n},
                            "op": "u",
                        },
                    }
                ),
            }
        ),
        two(
            lambda n: {
                "type": "orders.u",
                "stream": "orders:4",
                "source_position": f"0:{n}",
                "data": {"id": 4, "big": 12345678901234567890},
                "time": n,
            }
        ),
        order="per partition",
    ),
    "kcat with events in it": Shape(
        "kcat",
        two(
            lambda n: {
                "topic": "orders",
                "partition": 0,
                "offset": n,
                "tstype": "create",
                "ts": MS + 5000,
                "broker": 0,
                "key": "o-1",
                "payload": f'{{"type":"Placed","id":"e{n}","data":{{"n":{n}}}}}',
            }
        ),
        two(
            lambda n: {
                "type": "Placed",
                "stream": "o-1",
                "id": f"e{n}",
                "data": {"n": n},
                "time": 5,
            }
        ),
        order="per partition",
    ),
    "rpk": Shape(
        "rpk",
        two(
            lambda n: {
                "topic": "orders",
                "key": "o-1",
                "value": f'{{"n":{n}}}',
                "headers": [{"key": "type", "value": "Placed"}],
                "timestamp": MS + 1000 * n,
                "partition": 1,
                "offset": n,
            }
        ),
        two(lambda n: {"type": "Placed", "stream": "o-1", "data": {"n": n}, "time": n}),
        order="per partition",
        texts=("headers",),
    ),
    "cloudevents": Shape(
        "cloudevents",
        two(
            lambda n: {
                "specversion": "1.0",
                "id": f"e{n}",
                "source": "/shop",
                "type": "placed",
                "subject": "o-1",
                "time": T.format(n),
                "data": {"n": n},
                "region": "eu",
            }
        ),
        two(
            lambda n: {
                "type": "placed",
                "stream": "o-1",
                "data": {"n": n},
                "meta": {"specversion": "1.0", "region": "eu"},
                "time": n,
            }
        ),
        order="the order of the records",
        texts=("data",),
    ),
    "ocel": Shape(
        "ocel",
        two(
            lambda n: {
                "id": f"e{n}",
                "type": "Pack",
                "time": T.format(n),
                "attributes": [{"name": "weight", "value": n}],
                "relationships": [
                    {"objectId": "o-1", "qualifier": "order"},
                    {"objectId": "i-2", "qualifier": "item"},
                ],
            }
        ),
        two(
            lambda n: {
                "type": "Pack",
                "stream": "o-1",
                "id": f"e{n}",
                "time": n,
                "data": {
                    "attributes": [{"name": "weight", "value": n}],
                    "relationships": [
                        {"objectId": "o-1", "qualifier": "order"},
                        {"objectId": "i-2", "qualifier": "item"},
                    ],
                },
            }
        ),
        order="by timestamps",
        flat=False,
    ),
    "temporal": Shape(
        "temporal",
        two(
            lambda n: {
                "eventId": str(1 + n),
                "eventTime": T.format(n),
                "eventType": "WorkflowExecutionStarted",
                "workflowExecutionStartedEventAttributes": {"attempt": n},
            }
        ),
        two(
            lambda n: {
                "type": "WorkflowExecutionStarted",
                "data": {"workflowExecutionStartedEventAttributes": {"attempt": n}},
                "time": n,
            }
        ),
        flat=False,
    ),
    "github archive": Shape(
        "github-archive",
        two(
            lambda n: {
                "id": str(100 + n),
                "type": "PushEvent",
                "actor": {"login": "a"},
                "repo": {"id": 1, "name": "refold/refold"},
                "payload": {"size": n},
                "public": True,
                "created_at": T.format(n),
            }
        ),
        two(lambda n: {"type": "PushEvent", "stream": "refold/refold", "data": {"size": n}}),
        order="by timestamps",
        flat=False,
    ),
    "dynamodb": Shape(
        "dynamodb",
        two(
            lambda n: {
                "eventID": f"e{n}",
                "eventName": "MODIFY",
                "dynamodb": {
                    "Keys": {"id": {"S": "o-1"}},
                    "NewImage": {"n": {"N": str(n)}},
                    "SequenceNumber": str(n),
                },
            }
        ),
        two(
            lambda n: {
                "type": "MODIFY",
                "stream": '{"id":{"S":"o-1"}}',
                "data": {"n": {"N": str(n)}},
            }
        ),
        order="per item",
        flat=False,
    ),
    "eventbridge": Shape(
        "eventbridge",
        two(
            lambda n: {
                "id": f"e{n}",
                "detail-type": "Placed",
                "source": "shop",
                "time": T.format(n),
                "resources": ["o-1"],
                "detail": {"n": n},
            }
        ),
        two(lambda n: {"type": "Placed", "stream": "o-1", "data": {"n": n}, "time": n}),
        order="the order of the records",
        flat=False,
    ),
    "cloudtrail": Shape(
        "cloudtrail",
        two(
            lambda n: {
                "eventVersion": "1.08",
                "eventSource": "s3.amazonaws.com",
                "eventName": "PutObject",
                "eventTime": T.format(n),
                "eventID": f"e{n}",
                "requestParameters": {"key": n},
            }
        ),
        two(lambda n: {"type": "PutObject", "stream": "s3.amazonaws.com", "time": n}),
        order="by timestamps",
        flat=False,
    ),
    "process mining": Shape(
        "xes",
        two(
            lambda n: {
                "case:concept:name": "7",
                "concept:name": "Register",
                "time:timestamp": T.format(n),
                "cost": n,
            }
        ),
        two(lambda n: {"type": "Register", "stream": "7", "data": {"cost": n}, "time": n}),
        order="by timestamps",
    ),
}
EXACT = ("data", "meta")


def check(desk: Any, loaded: Any, shape: Shape) -> None:
    assert loaded.format.partition("+")[2] == shape.envelope
    assert loaded.mapping.order.startswith(shape.order)
    assert desk.rejects() == []
    for name in {name for event in shape.events for name in event}:
        wanted = [event[name] for event in shape.events]
        if name == "time":
            assert desk.column("epoch(time)::BIGINT - 1767441600") == wanted
        elif name in EXACT:
            found = desk.column(name)
            exact = [isinstance(one, str) for one in wanted]
            assert [t if e else json.loads(t) for t, e in zip(found, exact, strict=True)] == wanted
        else:
            assert desk.column(name) == wanted


@pytest.mark.parametrize("name", SHAPES)
def test_as_json_lines(desk: Any, name: str) -> None:
    shape = SHAPES[name]
    check(desk, desk.load(desk.write(desk.text(*shape.records))), shape)


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.flat])
def test_as_typed_columns(desk: Any, name: str) -> None:
    shape = SHAPES[name]
    rows = [
        {c: json.dumps(v) if c in shape.texts else v for c, v in record.items()}
        for record in shape.records
    ]
    path = desk.folder / "log.parquet"
    pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    check(desk, desk.load(path), shape)


@pytest.mark.parametrize("name", SHAPES)
def test_line_by_line(name: str) -> None:
    """What SQL can't read is read by itself, and gives the same."""
    shape = SHAPES[name]
    mapping = detect_mapping(shape.records, {}, "log")
    for record, event in zip(shape.records, shape.events, strict=True):
        row = JsonLines().repair_row(json.dumps(record, separators=(",", ":")), mapping) or {}
        for field_name, wanted in event.items():
            found = row.get({"source_position": "offset"}.get(field_name, field_name))
            if field_name == "time" or (
                field_name == "revision" and not mapping.has_field("revision")
            ):
                continue
            if field_name in EXACT and not isinstance(wanted, str):
                assert json.loads(found) == wanted
            else:
                assert found == str(wanted)


def test_every_envelope_has_a_shape() -> None:
    told = {name for shape in SHAPES.values() for name in shape.envelope.split("+")}
    assert {envelope.name for envelope in ENVELOPES} - told == {
        "kafka",  # what topics themselves give
        "kafka-console-consumer",
    }


def test_what_marten_skips_is_a_reject(desk: Any) -> None:
    rows = [dict(SHAPES["marten"].records[0], is_skipped=n == 1, seq_id=n) for n in range(3)]
    for wide in (False, True):
        if wide:
            path = desk.folder / "log.parquet"
            pa.parquet.write_table(pa.Table.from_pylist([r | {"data": "{}"} for r in rows]), path)
        else:
            path = desk.write(desk.text(*rows))
        desk.load(path, replace=True)
        assert desk.column("source_position") == ["0", "2"]
        assert [reason for _, reason, _ in desk.rejects()] == ["marten passes over it"]


def test_two_formats_in_one_file(desk: Any) -> None:
    changes = SHAPES["debezium"].records * 3
    others = [{"kind": "note", "text": "10.50"}, {"op": 1.10}]
    loaded = desk.load(desk.write(desk.text(*changes, *others)))
    assert loaded.format == "jsonl+debezium"
    assert [json.loads(t) for t in desk.column("data")[-2:]] == others
    assert desk.column("type")[-2:] == [None, None]
    assert any("2 records are in another format than debezium" in o for o in loaded.log.oddities())


def test_a_tombstone_is_no_damage(desk: Any) -> None:
    text = desk.text(*SHAPES["debezium"].records) + "null\n"
    desk.load(desk.write(text))
    assert len(desk.column("type")) == 2
    assert desk.rejects() == []


def test_what_is_given_counts_more(desk: Any) -> None:
    loaded = desk.load(
        desk.write(desk.text(*SHAPES["marten"].records)), field_columns={"stream": "tenant_id"}
    )
    assert desk.column("stream") == ["*DEFAULT*"] * 2
    assert loaded.mapping.fields["stream"].why == "given"


def test_hostile_payloads(desk: Any) -> None:
    deep = "[" * 100_000
    payloads = [deep, "{" * 100_000, '{"type":' * 3000, "\x1b[31m", '{"a":0.10', "", None, '"x"']
    rows = [dict(SHAPES["kcat"].records[0], payload=payload) for payload in payloads]
    rows += SHAPES["kcat with debezium in it"].records * 10
    desk.load(desk.write(desk.text(*rows)))
    found = desk.column("data")
    assert [None if t is None else json.loads(t) for t in found[:8]] == payloads
