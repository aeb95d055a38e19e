"""Oddities of real logs: torn lines, numbers in text, odd column names, tables without an order."""

import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.parquet
import pytest

from storage.errors import SourceError
from storage.ingest.sources import uris
from tests.storage.ingest.envelopes.test_envelopes import SHAPES

NOTE = 'x,1.50 y [0.10, "k":2.50'


def cloud(n: int, **data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"e{n}", "source": "/a", "type": "T", "data": data}


def table(path: Path, statements: str, *rows: tuple[Any, ...]) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(statements)
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO log VALUES ({marks})", rows)
    connection.commit()
    connection.close()
    return path


def test_a_torn_line_of_an_envelope_is_a_reject(desk: Any) -> None:
    path = desk.write(desk.text(cloud(1, a=1)) + '{"specversion":"1.0","id":"2",')
    desk.load(path)
    assert len(desk.rejects()) == 1
    desk.grow(path, '"source":"/a","type":"T","data":{"a":2}}\n')
    assert desk.load(path).appended == 1
    assert desk.column("data") == ['{"a":1}', '{"a":2}']


@pytest.mark.parametrize("transport", ["jsonl", "parquet", "sqlite"])
def test_numbers_inside_of_text_are_text(desk: Any, transport: str) -> None:
    said = json.dumps(NOTE)
    state = f'{{"timestamp":{{"_data_":"2026-01-03T12:00:00Z"}},"note":{said},"price":1.50}}'
    row = ("7e3f", 1, "shop:Paid", state)
    names = ("originator_id", "originator_version", "topic", "state")
    if transport == "jsonl":
        path = desk.write(json.dumps(dict(zip(names, row, strict=True))) + "\n")
    elif transport == "parquet":
        path = desk.folder / "log.parquet"
        pa.parquet.write_table(pa.Table.from_pylist([dict(zip(names, row, strict=True))]), path)
    else:
        path = table(
            desk.folder / "s.db",
            "CREATE TABLE log (originator_id TEXT, originator_version INT, topic TEXT, state TEXT)",
            row,
        )
    desk.load(path)
    assert desk.column("epoch(time)::BIGINT") == [1767441600]
    assert desk.column("data") == [state]


def test_indented_document_keeps_the_digits_of_numbers(desk: Any) -> None:
    data = '{"prices":[\n 0.10,\n 12345678901234567890.10,\n 1E5\n],"x":\n 2.50}'
    text = f'[{{"type":"A","stream":"s","data":{data}}}]'
    desk.load(desk.write(text, "log.json"))
    assert desk.column("data") == ['{"prices":[0.10,12345678901234567890.10,1E5],"x":2.50}']
    inner = json.dumps('{"t":"A","d":{"n":\n 0.10,"m":[\n 12345678901234567890.10\n]}}')
    path = desk.write(f'{{"id":"1","stream":"s","p":{inner}}}\n')
    desk.load(path, replace=True, field_columns={"type": "p.t", "data": "p.d"})
    assert desk.column("data") == ['{"n":0.10,"m":[12345678901234567890.10]}']


def test_columns_may_have_any_name(desk: Any) -> None:
    names = ("r1", "o1", "t1", "m1", "j1", "skipped", "line", "good", "raw", "marked", "l", "j")
    head = ",".join(("id", "type", "stream", "data", *names))
    cells = ",".join(str(n) for n in range(len(names)))
    desk.load(
        desk.write(f'{head}\n1,A,s,"{{""a"":1}}",{cells}\n2,B,s,"{{""a"":2}}",{cells}\n', "l.csv")
    )
    assert desk.column("data") == ['{"a":1}', '{"a":2}']
    row = {"id": "1", "type": "A", "stream": "s", **dict.fromkeys(names, 7)}
    desk.load(desk.write(desk.text(row)), replace=True)
    assert json.loads(desk.column("data")[0]) == dict.fromkeys(names, 7)


def test_event_with_a_list_is_not_read_as_a_document_of_events(desk: Any) -> None:
    row = {"id": "1", "type": "OrderPlaced", "stream": "o-1", "items": [{"sku": 1}, {"sku": 2}]}
    path = desk.write(desk.text(row))
    assert desk.load(path).format == "jsonl"
    assert desk.column("type") == ["OrderPlaced"]
    desk.grow(path, desk.text(row | {"id": "2"}))
    assert desk.load(path).appended == 1
    desk.load(desk.write(json.dumps(row, indent=1), "one.json"), replace=True)
    assert desk.column("type") == ["OrderPlaced"]


def test_documents_without_an_event_or_with_a_bad_byte(desk: Any) -> None:
    with pytest.raises(SourceError, match="No event found in"):
        desk.load(desk.write('{"events":[]}', "log.json"))
    with pytest.raises(SourceError, match="can't be read"):
        desk.load(desk.write(b'{"events":[{"id":"1","kind":"x\xff","data":{}}]}', "log.json"))
    desk.load(desk.write('{"events":[5,{"id":"1","type":"T"}]}', "log.json"))
    assert desk.column("type") == ["T"]
    assert len(desk.rejects()) == 1


def test_a_table_without_an_order_is_not_appended_to(desk: Any) -> None:
    path = desk.folder / "a.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE base(what VARCHAR, who VARCHAR); INSERT INTO base VALUES ('T', 's')"
        )
        connection.execute("CREATE VIEW log AS FROM base")
    fields = {"type": "what", "stream": "who"}
    desk.load(f"duckdb:{path}?table=log", field_columns=fields)
    with pytest.raises(SourceError, match="has no column that orders it, so refold can't tell"):
        desk.load(f"duckdb:{path}?table=log")
    assert desk.load(f"duckdb:{path}?table=base", replace=True, field_columns=fields).appended == 1
    assert desk.load(f"duckdb:{path}?table=base").appended == 0
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO base VALUES ('U', 's')")
    assert desk.load(f"duckdb:{path}?table=base").appended == 1
    assert desk.column("type") == ["T", "U"]


def test_rows_of_one_time_and_numbers_in_text_are_not_lost(desk: Any) -> None:
    ddl = "CREATE TABLE log (seq TEXT, type TEXT, stream TEXT, created_at TEXT, data TEXT)"
    rows = [(str(n), "T", "s", "2026-01-01T00:00:01Z", json.dumps({"n": n})) for n in range(1, 12)]
    path = table(desk.folder / "s.db", ddl, *rows)
    desk.load(f"sqlite:{path}?table=log")
    assert [json.loads(t)["n"] for t in desk.column("data")] == list(range(1, 12))
    more = [("12", "T", "s", "2026-01-01T00:00:01Z", "{}"), ("13", "T", "s", "2025-01-01", "{}")]
    table(path, "SELECT 1", *more)
    assert desk.load(f"sqlite:{path}?table=log").appended == 2
    assert "rowid" not in str(desk.column("data"))


def test_odd_columns_of_sqlite(desk: Any) -> None:
    ddl = (
        "CREATE TABLE log (seq INTEGER PRIMARY KEY, type TEXT, stream TEXT, extra BLOB, amount INT,"
        " loc POINT, price NUMERIC)"
    )
    rows = [(1, "A", "s", None, 1.5, "x", "0.10"), (2, "A", "s", None, "n/a", "y", 3)]
    path = table(desk.folder / "s.db", ddl, *rows)
    desk.load(f"sqlite:{path}?table=log")
    found = [json.loads(t) for t in desk.column("data")]
    assert found[0] == {"extra": None, "amount": 1.5, "loc": "x", "price": 0.1}
    assert found[1] == {"extra": None, "amount": "n/a", "loc": "y", "price": 3}
    keyed = (
        "CREATE TABLE log (seq INTEGER PRIMARY KEY, type TEXT,"
        " stream TEXT GENERATED ALWAYS AS ('g' || seq)) STRICT, WITHOUT ROWID;"
    )
    other = table(desk.folder / "t.db", keyed + "INSERT INTO log VALUES (1, 'T')")
    desk.load(f"sqlite:{other}?table=log", replace=True)
    assert desk.column("stream") == ["g1"]


def test_binary_payloads_that_look_like_text_are_decoded(desk: Any) -> None:
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "n", "type": "int"}, {"name": "s", "type": "string"}],
    }
    kept = desk.write(json.dumps(schema), "e.avsc")
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, {"n": 2, "s": "abc"})
    ddl = "CREATE TABLE log (seq INTEGER PRIMARY KEY, type TEXT, stream TEXT, data BLOB)"
    packed = bytes(pa.compress(b'{"a":0.10}', codec="snappy"))
    path = table(desk.folder / "s.db", ddl, (1, "T", "s", out.getvalue()))
    loaded = desk.load(
        f"sqlite:{path}?table=log",
        decoders={"data": f"avro:{kept}"},
        field_columns={"data": "data"},
    )
    assert (loaded.undecoded_count, desk.column("data")) == (0, ['{"n":2,"s":"abc"}'])
    path = table(desk.folder / "t.db", ddl, (1, "T", "s", packed))
    desk.load(
        f"sqlite:{path}?table=log",
        decoders={"data": "snappy"},
        field_columns={"data": "data"},
        replace=True,
    )
    assert desk.column("data") == ['{"a":0.10}']


@pytest.mark.parametrize(
    "link",
    [
        "kafka://h:1/t?registry=https://ru:s3cret@schemas:8081",
        "kafka://u:s3cret@h:1/t",
        "postgresql://u:p/s3cret@127.0.0.1:1/db?table=x",
        "postgresql://u:p@s3cret@h/db",
        "postgresql://h/db?password=s3cret&user=u",
        "postgresql://u:s3cret?x@h/db",
        "postgresql://u:s3c#s3cret@h/db",
        "postgresql://u:s3cret@[::1/db",
    ],
)
def test_no_secret_of_a_link_is_shown(link: str) -> None:
    assert "s3cret" not in uris.redact_uri(link)
    assert uris.is_uri(uris.redact_uri(link))


@pytest.mark.parametrize("password", ["s3cret/1", "1/s3cret", "s3cret@1", "1?s3cret", "1#s3cret"])
def test_a_password_that_is_not_quoted_is_refused(desk: Any, password: str) -> None:
    with pytest.raises(SourceError, match="write @ as %40") as caught:
        desk.load(f"postgresql://reader:{password}@127.0.0.1:1/db?table=x")
    assert "s3cret" not in caught.value.message
    assert "reader" not in caught.value.message


def test_invalid_link_is_refused_with_one_sentence(desk: Any) -> None:
    said = r"^postgresql://\[::1/db\?table=x is not a valid link: Invalid IPv6 URL\.$"
    with pytest.raises(SourceError, match=said):
        desk.load("postgresql://reader:s3cret@[::1/db?table=x")


def test_source_positions_of_a_topic_are_ordered_as_numbers(desk: Any) -> None:
    rows = [dict(SHAPES["kcat"].records[0], offset=n) for n in (10, 9, 11)]
    desk.load(desk.write(desk.text(*rows)), order_by="offset")
    assert desk.column("source_position") == ["2:9", "2:10", "2:11"]


def test_kafka_timestamp_replaces_a_missing_time(desk: Any) -> None:
    kcat = SHAPES["kcat"].records[0]
    payloads = [{**cloud(1), "time": "2026-01-03T12:00:05Z"}, cloud(2)]
    rows = [dict(kcat, payload=json.dumps(one)) for one in payloads]
    desk.load(desk.write(desk.text(*rows)))
    assert desk.column("epoch(time)::BIGINT - 1767441600") == [5, 0]


def test_path_may_contain_names_of_digits(desk: Any) -> None:
    rows = [desk.event(n, data={"2024": f"s{n}", "lines": [{"to": f"t{n}"}]}) for n in range(2)]
    desk.load(desk.write(desk.text(*rows)), field_columns={"stream": "data.2024"})
    assert desk.column("stream") == ["s0", "s1"]
    desk.load(desk.folder / "log.jsonl", field_columns={"stream": "data.lines.0.to"}, replace=True)
    assert desk.column("stream") == ["t0", "t1"]


def test_types_of_values_may_change_in_the_middle_of_a_table(desk: Any) -> None:
    ddl = (
        "CREATE TABLE log (position INTEGER, id TEXT, stream TEXT, type TEXT, data BLOB, line, good);"
        "INSERT INTO log WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT 70000)"
        " SELECT CASE WHEN i < 30000 THEN i ELSE 'p' || i END, 'e' || i, 's', 'T',"
        """ CASE WHEN i < 50000 THEN '{"n":' || i || '.50}' ELSE x'ff00' END, i, 'false' FROM n;"""
    )
    path = table(desk.folder / "s.db", ddl)
    fields = {"data": "data", "offset": "rowid", "version": "data.n"}
    assert desk.load(f"sqlite:{path}?table=log", field_columns=fields).appended == 70_000
    assert desk.column("line") == list(range(1, 70_001))
    assert desk.column('"offset"') == list(range(70_000))
    texts = [f"{n}.50" for n in range(50_000)]
    assert desk.column("data") == [f'{{"n":{t}}}' for t in texts] + ['"/wA="'] * 20_000
    assert desk.column("version") == texts + [None] * 20_000


CSV = 'id,stream,type,data\n1,s,T,"{""a"":0.10}"\n2,s,U,"{""a"":2,""b"":3}"\n3,s\n'


@pytest.mark.parametrize(
    ("torn", "rest", "data"),
    [
        ('4,s,T,"{""a"":', '4}"\n', '{"a":4}'),
        ('4,s,T,"{""a"":4,\n', '""b"":5}"\n', '{"a":4,\n"b":5}'),
        ("4,s,Sh", "ut,9\n", "9"),
        ("4,s,Sh", "ut,9", "9"),
    ],
)
def test_incomplete_last_row_is_read_once_it_is_complete(
    desk: Any, torn: str, rest: str, data: str
) -> None:
    path = desk.write(CSV + torn, "log.csv")
    assert desk.load(path).appended == 2
    before = ['{"a":0.10}', '{"a":2,"b":3}']
    assert desk.column("data") == before
    assert [line for line, *_ in desk.rejects()] == [4, 5]
    assert "the file ends inside this row" in desk.rejects()[1][1]
    assert desk.load(path).appended == 0
    desk.grow(path, rest)
    assert desk.load(path).appended == 1
    assert desk.column("data") == [*before, data]
    assert [line for line, *_ in desk.rejects()] == [4]


def test_ocel_event_without_objects_is_read(desk: Any) -> None:
    related = {"relationships": [{"objectId": "o1", "qualifier": "q"}]}
    events = [
        {"id": f"e{n}", "type": "P", "time": "2026-01-03T12:00:00Z", "attributes": [], **more}
        for n, more in enumerate((related, {}))
    ]
    document = {"eventTypes": [], "objectTypes": [], "objects": [], "events": events}
    assert desk.load(desk.write(json.dumps(document), "log.json")).format == "json+ocel"
    assert desk.column("id") == ["e0", "e1"]
    assert desk.column("type") == ["P", "P"]
    assert desk.column("stream") == ["o1", None]
