"""One contract for all formats: the same log gives the same events, whatever it is written in."""

import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard

from storage.errors import SourceError

FIELDS = ("id", "time", "stream", "type", "data")
TEXTS = [
    "plain",
    "Grüße, 世界 🎉",
    'a "quoted" word',
    "two\nlines",
    "tab\there",
    "semi;colon",
    "it's",
]


def payload(number: int) -> str:
    """JSON text as it must arrive, to the last digit."""
    text = json.dumps(TEXTS[number % len(TEXTS)], ensure_ascii=False)
    return (
        f'{{"n":{number},"note":{text},"price":0.10,"big":12345678901234567890,"none":null,'
        f'"items":[{{"sku":"a","qty":1.50}},[]],"deep":{{"a":{{"b":[true,false]}}}}}}'
    )


def records(count: int = 14) -> list[dict[str, str | None]]:
    return [
        {
            "id": f"e{number}",
            "time": f"2026-01-03T12:00:{number:02}.123456Z",
            "stream": f"ordér, {number % 3}",
            "type": None if number == 5 else ("Placed" if number % 2 else "Paid"),
            "data": payload(number),
        }
        for number in range(count)
    ]


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    lines = []
    for row in rows:
        members = [
            f"{json.dumps(name)}: "
            + (row[name] if name == "data" else json.dumps(row[name], ensure_ascii=False))
            for name in row
        ]
        lines.append("{" + ", ".join(members) + "}\n")
    return "".join(lines).encode()


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(rows), sink, row_group_size=5)
    return sink.getvalue()


def as_arrow(rows: list[dict[str, Any]], new: Callable[..., Any]) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "log.jsonl": as_jsonl,
    "log.jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
    "log.jsonl.zst": lambda rows: zstandard.compress(as_jsonl(rows)),
    "log.jsonl.xz": lambda rows: lzma.compress(as_jsonl(rows)),
    "log.csv": as_csv,
    "log.csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "log.tsv": lambda rows: as_csv(rows, "\t"),
    "semicolons.csv": lambda rows: as_csv(rows, ";"),
    "log.parquet": as_parquet,
    "log.arrow": lambda rows: as_arrow(rows, pa.ipc.new_file),
    "log.arrows": lambda rows: as_arrow(rows, pa.ipc.new_stream),
}
every_format = pytest.mark.parametrize("name", FORMATS)


@pytest.fixture(scope="module", params=FORMATS)
def looked_at(request: pytest.FixtureRequest, desk_for: Callable[[str], Any]) -> Any:
    """A desk on which the log was loaded, from each format in turn."""
    desk = desk_for("format")
    desk.name = request.param
    desk.loaded = desk.load(desk.write(FORMATS[desk.name](records()), desk.name))
    return desk


growing = pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz", "log.csv", "log.tsv"])
whole = pytest.mark.parametrize("name", ["log.parquet", "log.arrow", "log.arrows"])


def test_same_log_gives_same_events(looked_at: Any) -> None:
    rows = records()
    loaded = looked_at.loaded
    assert loaded.appended == loaded.log.events == len(rows)
    assert looked_at.column('"offset"') == list(range(len(rows)))
    for field in ("id", "stream", "type"):
        assert looked_at.column(field) == [row[field] for row in rows]
    times = looked_at.column("strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ')")
    assert times == [row["time"] for row in rows]
    assert looked_at.rejects() == []


def test_payload_keeps_every_digit(looked_at: Any) -> None:
    exact: dict[str, Any] = {"parse_float": str, "parse_int": str}
    kept = [json.loads(data, **exact) for data in looked_at.column("data")]
    assert kept == [json.loads(str(row["data"]), **exact) for row in records()]


def test_fields_are_found_by_name(looked_at: Any) -> None:
    mapping = looked_at.loaded.mapping
    assert {field: source.column_text for field, source in mapping.fields.items()} == {
        field: field for field in FIELDS
    }
    kind = looked_at.name.split(".")[1].replace("tsv", "csv").replace("arrows", "arrow")
    assert looked_at.loaded.format == kind


def test_revisions_are_counted_where_there_are_none(looked_at: Any) -> None:
    assert looked_at.column("revision") == [number // 3 for number in range(14)]


def test_loading_twice_appends_nothing(looked_at: Any) -> None:
    again = looked_at.load(looked_at.folder / looked_at.name)
    assert (again.appended, again.log.events) == (0, 14)


@every_format
def test_given_fields_hold_even_crosswise(desk: Any, name: str) -> None:
    rows = records(4)
    path = desk.write(FORMATS[name](rows), name)
    desk.load(path, field_columns={"id": "stream", "stream": "type", "type": "id"})
    assert desk.column("id") == [row["stream"] for row in rows]
    assert desk.column("stream") == [row["type"] for row in rows]
    assert desk.column("type") == [row["id"] for row in rows]


@every_format
def test_unmapped_fields_become_data(desk: Any, name: str) -> None:
    rows = [
        {"type": "Placed", "customer": f"c {number}", "note": TEXTS[number], "city": None}
        for number in range(len(TEXTS))
    ]
    desk.load(desk.write(FORMATS[name](rows), name))
    expected = [{key: row[key] for key in ("customer", "note", "city")} for row in rows]
    assert [json.loads(data) for data in desk.column("data")] == expected


@growing
def test_new_rows_are_appended(desk: Any, name: str) -> None:
    rows = records()
    first, whole_log = FORMATS[name](rows[:9]), FORMATS[name](rows)
    path = desk.write(first, name)
    desk.load(path)
    path.write_bytes(whole_log)
    loaded = desk.load(path)
    assert (loaded.appended, loaded.log.events) == (5, 14)
    assert desk.column("id") == [row["id"] for row in rows]
    assert desk.column('"offset"') == list(range(14))
    assert desk.column("revision") == [number // 3 for number in range(14)]


@whole
def test_rewritten_file_of_one_piece_is_refused(desk: Any, name: str) -> None:
    path = desk.write(FORMATS[name](records(9)), name)
    desk.load(path)
    path.write_bytes(FORMATS[name](records(14)))
    with pytest.raises(SourceError, match="--replace"):
        desk.load(path)
    assert len(desk.column("id")) == 9
    assert desk.load(path, replace=True).log.events == 14


@every_format
def test_order_by_a_field(desk: Any, name: str) -> None:
    rows = records(9)
    shuffled = [rows[number] for number in (3, 1, 8, 0, 2, 7, 5, 6, 4)]
    desk.load(desk.write(FORMATS[name](shuffled), name), order_by="time")
    assert desk.column("id") == [row["id"] for row in rows]
    assert desk.column('"offset"') == list(range(9))


# Plain text may end anywhere.
@pytest.mark.parametrize(
    "name", [n for n in FORMATS if n not in ("log.jsonl", "log.csv", "log.tsv", "semicolons.csv")]
)
def test_cut_off_file_is_refused_and_leaves_nothing(desk: Any, name: str) -> None:
    content = FORMATS[name](records())
    path = desk.write(content[: len(content) * 2 // 3], name)
    with pytest.raises(SourceError, match=r"cut off|complete|truncated"):
        desk.load(path)
    assert not desk.target.exists()
    assert desk.leftovers() == []


def test_columns_of_parquet_keep_their_digits(desk: Any) -> None:
    from decimal import Decimal

    table = pa.table(
        {
            "type": ["A", "B"],
            "price": pa.array([Decimal("0.10"), Decimal("12345678901234567890.12")]),
            "count": pa.array([2**64 - 1, None], pa.uint64()),
            "share": [0.1, 1e300],
            "raw": [b"\xff", b""],
        }
    )
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink)
    desk.load(desk.write(sink.getvalue(), "log.parquet"))
    assert desk.column("data") == [
        '{"price":0.10,"count":18446744073709551615,"share":0.1,"raw":"/w=="}',
        '{"price":12345678901234567890.12,"count":null,"share":1e300,"raw":""}',
    ]


def test_cells_of_csv_keep_their_text(desk: Any) -> None:
    cells = "type,price,zip,yes\nA,0.10,007,true\nB,12345678901234567890,008,FALSE\n"
    desk.load(desk.write(cells, "log.csv"))
    assert desk.column("data") == [
        '{"price":0.10,"zip":"007","yes":true}',
        '{"price":12345678901234567890,"zip":"008","yes":false}',
    ]


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_long_log_keeps_the_order_of_its_lines(desk: Any, name: str) -> None:
    count = 300_000
    table = {"id": [f"e{n}" for n in range(count)], "type": ["T"] * count}
    if name == "log.parquet":
        sink = io.BytesIO()
        pa.parquet.write_table(pa.table(table), sink, row_group_size=20_000)
        content: bytes = sink.getvalue()
    elif name == "log.csv":
        content = ("id,type\n" + "".join(f"{i},T\n" for i in table["id"])).encode()
    else:
        content = "".join(f'{{"id":"{i}","type":"T"}}\n' for i in table["id"]).encode()
    desk.load(desk.write(content, name))
    out_of_place = desk.ask(
        'SELECT count(*), count(*) FILTER (WHERE id != \'e\' || "offset" OR revision != "offset"),'
        ' count(DISTINCT "offset"), min("offset"), max("offset") FROM events'
    )
    assert out_of_place == [(count, 0, count, 0, count - 1)]
