"""Small real files and records from which the fuzzed inputs are made."""

import base64
import bz2
import gzip
import io
import json
import lzma
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any

from crash import sample

RECORDS: tuple[dict[str, Any], ...] = (
    *sample.events(6),
    {
        "topic": "shop.orders",
        "partition": 0,
        "offset": 17,
        "tstype": "create",
        "ts": 1767441600123,
        "headers": [],
        "key": '{"id":4}',
        "payload": '{"before":null,"after":{"id":4,"total":"12.00"},"source":{"connector":"postgresql",'
        '"db":"shop","table":"orders","ts_ms":1767441600000},"op":"c"}',
    },
    {
        "specversion": "1.0",
        "type": "Placed",
        "source": "/shop",
        "subject": "order-1",
        "id": "c1",
        "time": "2026-01-03T12:00:00Z",
        "datacontenttype": "application/json",
        "data": {"n": 1},
    },
    {
        "eventId": "0b2b6f7e-2a6c-4a4f-9d4e-0c7c7a1f6a11",
        "eventNumber": 3,
        "eventType": "Paid",
        "streamId": "order-4",
        "positionEventNumber": 3,
        "isJson": True,
        "data": '{"amount": 0.10}',
        "updated": "2026-01-03T12:00:00.000001Z",
    },
    {
        "version": "0",
        "id": "6a7e8feb",
        "detail-type": "Order Placed",
        "source": "shop",
        "time": "2026-01-03T12:00:00Z",
        "resources": [],
        "detail": {"order": 4},
    },
)
CONSOLE = (
    "CreateTime:1767441600123\tPartition:0\tOffset:17\ttrace:a,b:c\torder-1\t"
    '{"type":"Placed","id":1}'
)
CSV_ROWS = [
    ["id", "time", "stream", "type", "data", "amount"],
    *(
        [f"e{n}", f"2026-01-03T12:00:{n:02}Z", f"o-{n % 3}", "Paid", '{"n": 1}', "0.10"]
        for n in range(20)
    ),
]
XES = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1.0" xmlns="http://www.xes-standard.org/">
<extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
<trace><string key="concept:name" value="order-1"/>
<event><string key="concept:name" value="Placed"/><date key="time:timestamp" value="2026-01-03T12:00:00Z"/>
<int key="n" value="1"/><float key="price" value="0.10"/><boolean key="ok" value="true"/></event>
<event><string key="concept:name" value="Paid"/><date key="time:timestamp" value="2026-01-03T12:00:01Z"/>
<list key="l"><values><string key="a" value="b"/></values></list></event></trace></log>
"""
XES_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE log [<!ENTITY a "aaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + ']><log><trace><string key="concept:name" value="&j;"/><event>'
    '<string key="concept:name" value="&j;"/></event></trace></log>'
)
CASSETTE = """interactions:
- request:
    body: '{"sku": "a"}'
    headers:
      Content-Type: [application/json]
    method: POST
    uri: https://risk.example/score?order=1
  response:
    body: {string: '{"score": 3}'}
    headers:
      Content-Type: [application/json]
    status: {code: 200, message: OK}
version: 1
"""
YAML_BOMB = "interactions:\n" + "".join(
    f"- &{name} [{', '.join(['*' + before] * 9) if before else 'x, x, x'}]\n"
    for before, name in zip(["", *"abcdefgh"], "abcdefghi", strict=True)
)
HAR: dict[str, Any] = {
    "log": {
        "version": "1.2",
        "creator": {"name": "x", "version": "1"},
        "entries": [
            {
                "startedDateTime": "2026-01-03T12:00:02Z",
                "time": 12.5,
                "request": {
                    "method": "GET",
                    "url": "https://risk.example/score?order=1",
                    "httpVersion": "HTTP/1.1",
                    "headers": [{"name": "Accept", "value": "*/*"}],
                    "queryString": [{"name": "order", "value": "1"}],
                    "cookies": [],
                    "headersSize": -1,
                    "bodySize": 0,
                },
                "response": {
                    "status": 200,
                    "statusText": "OK",
                    "httpVersion": "HTTP/1.1",
                    "headers": [{"name": "Content-Type", "value": "application/json"}],
                    "cookies": [],
                    "content": {"size": 12, "mimeType": "application/json", "text": '{"score": 3}'},
                    "redirectURL": "",
                    "headersSize": -1,
                    "bodySize": 12,
                },
                "cache": {},
                "timings": {"send": 0, "wait": 12, "receive": 0},
            }
        ],
    }
}
JOURNAL: tuple[dict[str, Any], ...] = (
    {
        "event_id": "e1",
        "port": "rates",
        "operation": "rate",
        "request": {"pair": "EURUSD"},
        "response": 1.08,
    },
    {
        "correlation_id": "e2",
        "port": "mail",
        "operation": "send",
        "kind": "command",
        "error": "full",
    },
    {
        "time": "2026-01-01T10:00:02Z",
        "method": "GET",
        "url": "https://risk.example/score?order=1",
        "response": {
            "status": 200,
            "headers": {"content-type": "text/plain"},
            "body": {"base64": "eA=="},
        },
    },
)
TOML = """[projections.orders]
code = "orders.py"
python = "python3"
[ports.rates]
live = "https://rates.example"
operations = {rate = "GET /v1/rates/{pair}"}
headers = {Authorization = "Bearer $TOKEN"}
redact = ["customer.iban"]
missing = ["latest", "stub"]
stub = 1.0
timeout = 5.0
[gateway]
own_time = true
seed = 4
[[overrides]]
port = "rates"
request = {pair = "EURUSD"}
from = 12
chance = 0.5
respond = 2.0
[sources.shop]
from = "log.jsonl"
map = { stream = "stream" }
redact = ["data.email"]
"""
AVRO_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Paid",
    "fields": [
        {"name": "n", "type": "long"},
        {"name": "raw", "type": "bytes"},
        {"name": "tags", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "when", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
RECURSIVE_AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "next", "type": ["null", "Node"]}],
}
NULLS_AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Nulls",
    "fields": [{"name": "all", "type": {"type": "array", "items": "null"}}],
}
YAML_PAYLOAD = "---\n:order: 7\nlines:\n- !ruby/object:Line\n  sku: a\nat: 2026-01-03\n"
CONDITIONS = (
    *("type = 'Paid'", "data.amount > 100", "stream LIKE 'order-%' AND data.qty IN (1, 2)"),
    *(
        "offset BETWEEN 2 AND 9",
        "time > '2026-01-03T12:00'",
        "meta IS NULL OR data.email ILIKE '%x%'",
    ),
)
STATE_CONDITIONS = (
    *(
        "state.total < 0",
        "state.items['sku-7'] > 2 AND state.shipped ILIKE 'p%'",
        "key = 'order-1'",
    ),
    *("sum(state.total) <> 0", "count(*) > 3", "round(abs(state.total), 2) = 1.5", "offset > 4"),
)
QUERIES = (
    *("SELECT type, count(*) FROM events GROUP BY 1", "FROM state_at('orders', 20)", "FROM events"),
    *(
        "FROM changes('orders', 'order-1')",
        "SELECT data->>'$.email' FROM events WHERE \"offset\" < 5",
    ),
)
POSITIONS = (
    *("1200", "900+1", "-1", "50%", "start", "end", "2026-01-03T12:00", "order-1@6", "id:e7", "5"),
)
FORK_FILE_NAME = "fork.json"


def jsonl() -> bytes:
    """Return a log of JSON lines."""
    return "".join(f"{json.dumps(one)}\n" for one in sample.events(20)).encode()


@cache
def compressed() -> tuple[tuple[str, bytes], ...]:
    """Return the log as compressed files."""
    import zstandard

    text = jsonl()
    return (
        ("log.jsonl.gz", gzip.compress(text, mtime=0)),
        ("log.jsonl.xz", lzma.compress(text)),
        ("log.jsonl.bz2", bz2.compress(text)),
        ("log.jsonl.zst", zstandard.compress(text)),
    )


@cache
def bombs() -> tuple[tuple[str, bytes], ...]:
    """Return small files that are very large when unpacked."""
    import zstandard

    line = b'{"type":"A","data":"' + b"a" * (1 << 20) + b'"}\n'
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    zst = b"".join(packer.compress(bytes(1 << 24)) for _ in range(256)) + packer.flush()
    return (
        ("log.jsonl.gz", gzip.compress(line * 300, compresslevel=6, mtime=0)),
        ("log.jsonl.zst", zst),
        ("log.xes", XES_BOMB.encode()),
        ("log.jsonl", b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
        ("log.json", b"[" * 1_000_000),
    )


@cache
def parquet() -> bytes:
    """Return the log as a Parquet file."""
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(_table(), stream, compression="zstd")
    return stream.getvalue()


@cache
def arrow() -> tuple[bytes, ...]:
    """Return the log as an Arrow file and as an Arrow stream."""
    import pyarrow as pa

    found = []
    for make in (pa.ipc.new_file, pa.ipc.new_stream):
        stream = io.BytesIO()
        with make(stream, _table().schema) as writer:
            writer.write_table(_table())
        found.append(stream.getvalue())
    return tuple(found)


def sqlite(path: Path) -> bytes:
    """Return the log as a SQLite database, and make it at a path."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE log (id TEXT, stream TEXT, type TEXT, time TEXT, data TEXT, n)"
    )
    rows = [
        (e["id"], e["stream"], e["type"], e["time"], json.dumps(e["data"]), number)
        for number, e in enumerate(sample.events(20))
    ]
    connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return path.read_bytes()


def duckdb(path: Path) -> bytes:
    """Return the log as a DuckDB file, and make it at a path."""
    import duckdb

    path.unlink(missing_ok=True)
    with duckdb.connect(path) as connection:
        connection.execute(
            "CREATE TABLE log (id VARCHAR, stream VARCHAR, type VARCHAR, data VARCHAR)"
        )
        rows = [(e["id"], e["stream"], e["type"], json.dumps(e["data"])) for e in sample.events(20)]
        connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows)
    return path.read_bytes()


@cache
def avro_payload() -> bytes:
    """Return a payload of `AVRO_SCHEMA`."""
    import fastavro

    stream = io.BytesIO()
    value = {"n": 7, "raw": b"\x01", "tags": [None, "a"], "when": 1767441600123}
    fastavro.schemaless_writer(stream, AVRO_SCHEMA, value)
    return stream.getvalue()


@cache
def protobuf() -> tuple[bytes, bytes]:
    """Return a descriptor set with the message `shop.Placed`, and a payload of it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    fields = [
        kind(name="id", number=1, type=kind.TYPE_INT64, label=kind.LABEL_OPTIONAL),
        kind(name="name", number=2, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL),
        kind(
            name="next",
            number=3,
            type=kind.TYPE_MESSAGE,
            type_name=".shop.Placed",
            label=kind.LABEL_OPTIONAL,
        ),
    ]
    message = descriptor_pb2.DescriptorProto(name="Placed", field=fields)
    file = descriptor_pb2.FileDescriptorProto(
        name="p.proto", package="shop", syntax="proto3", message_type=[message]
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Placed"))
    value = made(id=7, name="a", next=made(id=8))
    described = descriptor_pb2.FileDescriptorSet(file=[file])
    return described.SerializeToString(), value.SerializeToString()


def base64_text(data: bytes) -> str:
    """Return bytes as they stand in a JSON log."""
    return base64.b64encode(data).decode()


def _table() -> Any:
    import pyarrow as pa

    rows = [{**event, "data": json.dumps(event["data"])} for event in sample.events(20)]
    return pa.Table.from_pylist(rows)
