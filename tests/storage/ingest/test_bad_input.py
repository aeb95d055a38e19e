"""Bad input: what is no event is a reject with a line and a reason, and never costs a good one."""

import gzip
import json
from typing import Any

import pytest

from storage.errors import SourceError
from storage.log.event_log import EventLog

ESCAPED = r'{"id":"x","stream":"s","type":"T","data":{"a":"\ud800"}}'

BAD_LINES = {
    "broken": ('{"id":"x","data":{', "not valid JSON"),
    "cut inside a string": ('{"id":"x', "not valid JSON"),
    "two on a line": ('{"id":"x"} {"id":"y"}', "not valid JSON"),
    "array": ("[1,2]", "not a JSON object"),
    "number": ("12", "not a JSON object"),
    "text": ('"text"', "not a JSON object"),
    "null": ("null", "not a JSON object"),
    "no JSON at all": ("Traceback (most recent call last):", "not valid JSON"),
    "lone surrogate": (ESCAPED, "not valid JSON"),
    "zero byte": ("\0", "not valid JSON"),
    "array a million deep": (
        '{"type":"T","data":' + "[" * 1_000_000 + "]" * 1_000_000 + "}",
        "nested 1,000,001 deep",
    ),
    "unclosed brackets": ('{"type":"T","data":' + "[" * 100_000, "nested 100,001 deep"),
}


@pytest.mark.parametrize("what", BAD_LINES)
def test_bad_line_is_rejected_with_its_reason(desk: Any, what: str) -> None:
    bad, expected = BAD_LINES[what]
    good = [desk.event(number) for number in range(3)]
    path = desk.write(desk.text(*good[:2]) + bad + "\n" + desk.text(good[2]))
    loaded = desk.load(path)
    assert (loaded.log.events, loaded.log.rejected) == (3, 1)
    assert desk.column("id") == ["e0", "e1", "e2"]
    assert desk.column('"offset"') == [0, 1, 2]
    assert desk.column("line") == [1, 2, 4]
    ((line, reason, text),) = desk.rejects()
    assert line == 3
    assert reason.startswith(expected)
    assert text == bad[:1000]
    assert any("rejected" in oddity for oddity in loaded.log.oddities())


@pytest.mark.parametrize("what", BAD_LINES)
def test_strict_refuses_and_leaves_nothing(desk: Any, what: str) -> None:
    path = desk.write(desk.text(desk.event(0)) + BAD_LINES[what][0] + "\n")
    with pytest.raises(SourceError, match=r"line 2: .*--strict loads nothing"):
        desk.load(path, is_strict=True)
    assert not desk.target.exists()
    assert desk.leftovers() == []


def test_strict_append_keeps_what_was_loaded(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(0)))
    desk.load(path)
    desk.grow(path, desk.text(desk.event(1)) + "{broken\n")
    with pytest.raises(SourceError, match="--strict"):
        desk.load(path, is_strict=True)
    assert desk.column("id") == ["e0"]
    assert desk.load(path).appended == 1
    assert [line for line, _, _ in desk.rejects()] == [3]


def test_many_bad_lines_leave_dense_offsets(desk: Any) -> None:
    lines = [
        "{broken\n" if number % 3 == 1 else desk.text(desk.event(number))
        for number in range(1, 3000)
    ]
    loaded = desk.load(desk.write("".join(lines)))
    assert desk.column('"offset"') == list(range(loaded.log.events))
    assert desk.column("line") == [number for number in range(1, 3000) if number % 3 != 1]
    assert [line for line, _, _ in desk.rejects()] == list(range(1, 3000, 3))


def test_line_of_20_mb_is_an_event(desk: Any) -> None:
    long = "ä" * 10_000_000
    path = desk.write(desk.text(desk.event(0), desk.event(1, data={"long": long}), desk.event(2)))
    desk.load(path)
    assert desk.column("id") == ["e0", "e1", "e2"]
    assert desk.ask("SELECT length(data) FROM events WHERE id = 'e1'") == [(len(long) + 11,)]


def test_invalid_utf8_is_rejected(desk: Any) -> None:
    bad = b'{"id":"x","type":"caf\xe9"}'
    content = desk.text(desk.event(0)).encode() + bad + b"\n" + desk.text(desk.event(1)).encode()
    desk.load(desk.write(content))
    assert desk.column("id") == ["e0", "e1"]
    assert desk.column("line") == [1, 3]
    assert desk.rejects() == [(2, "not valid UTF-8 at byte 22", bad.decode(errors="replace"))]


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_byte_order_mark_is_no_part_of_the_log(desk: Any, name: str) -> None:
    text = desk.text(desk.event(0)) if name == "log.jsonl" else "id,type\ne0,Placed\n"
    desk.load(desk.write(b"\xef\xbb\xbf" + text.encode(), name))
    assert (desk.column("id"), desk.column("type")) == (["e0"], ["Placed"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_utf16_is_refused_by_its_name(desk: Any, name: str, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    path = desk.write((mark + desk.text(desk.event(0))).encode(encoding), name)
    with pytest.raises(SourceError, match="UTF-16"):
        desk.load(path)


def test_blank_lines_are_passed_over(desk: Any) -> None:
    path = desk.write(
        "\n \t\r\n" + desk.text(desk.event(0)) + "\n\n" + desk.text(desk.event(1)) + "\n"
    )
    desk.load(path)
    assert desk.column("line") == [3, 6]
    assert desk.rejects() == []


def test_windows_line_breaks(desk: Any) -> None:
    desk.load(desk.write(desk.text(desk.event(0), desk.event(1)).replace("\n", "\r\n")))
    assert desk.column("data") == ['{"n":0}', '{"n":1}']


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "nan", "-inf"])
def test_not_a_number_is_no_json(desk: Any, value: str) -> None:
    bad = '{"id":"x","stream":"s","type":"T","data":{"a":[1,' + value + "]}}"
    good = desk.event(1, data={"said": "a: NaN, -Infinity", "x": "inf"})
    desk.load(desk.write(desk.text(desk.event(0), good) + bad + "\n"))
    assert desk.column("id") == ["e0", "e1"]
    ((line, reason, text),) = desk.rejects()
    assert (line, text) == (3, bad)
    assert reason.startswith("not valid JSON")


def test_not_a_number_in_columns_becomes_a_text(desk: Any) -> None:
    rows = '"{""n"":NaN,""m"":[-Infinity],""s"":""a: NaN""}"'
    desk.load(desk.write(f"id,type,data\ne0,T,{rows}\n", "log.csv"))
    (data,) = desk.column("data")
    assert json.loads(data) == {"n": "NaN", "m": ["-Infinity"], "s": "a: NaN"}


@pytest.mark.parametrize(
    "time", ["253402300800000", "-99999999999999999", "1e308", "9223372036854775807", '"infinity"']
)
def test_a_time_out_of_range_is_null_and_its_text_is_kept(desk: Any, time: str) -> None:
    good = [desk.event(n, time=1767225600000 + n) for n in range(9)]
    bad = f'{{"id":"x","time":{time},"stream":"s","type":"T","data":{{}}}}\n'
    loaded = desk.load(desk.write(desk.text(*good) + bad))
    assert loaded.log.without_time == 1
    assert [t is None for t in desk.column("time")] == [False] * 9 + [True]
    meta = json.loads(desk.column("meta")[-1])
    assert meta["unreadable_time"] == time.strip('"')
    assert EventLog(desk.open()).read_event(9).time is None


def test_a_time_out_of_range_that_a_workspace_holds_is_none(desk: Any) -> None:
    desk.load(desk.write(desk.text(desk.event(0))))
    with desk.open().writing() as connection:
        connection.execute("UPDATE events SET time = TIMESTAMPTZ '200000-01-01 00:00:00+00'")
    log = EventLog(desk.open())
    assert log.read_event(0).time is None
    assert log.read_extent().last_time is None


@pytest.mark.parametrize("encoding", ["rot13", "UTF-32", "nonsense", "idna", "punycode"])
def test_an_odd_encoding_of_xes_is_refused_in_a_sentence(desk: Any, encoding: str) -> None:
    content = f'<?xml version="1.0" encoding="{encoding}"?><log><trace/></log>'
    with pytest.raises(SourceError, match="encoding"):
        desk.load(desk.write(content, "log.xes"))


@pytest.mark.parametrize(
    "schema",
    ["", "null", "5", '{"type":"array"}', '{"type":"nope"}', "[[" * 3000, '{"type":{"type":{}}}'],
)
def test_a_bad_avro_schema_is_refused_in_a_sentence(desk: Any, schema: str) -> None:
    path = desk.write(schema, "bad.avsc")
    with pytest.raises(SourceError, match="is no Avro schema"):
        desk.load(
            desk.write(desk.text(desk.event(0, data="AgI="))),
            decoders={"data": f"base64+avro:{path}"},
        )


def test_damage_inside_gzip_is_told_as_damage(desk: Any) -> None:
    packed = bytearray(gzip.compress(desk.text(*map(desk.event, range(500))).encode()))
    for place in range(10, 200):
        damaged = packed[:]
        damaged[place] ^= 0x55
        with pytest.raises(SourceError):
            desk.load(desk.write(bytes(damaged), "log.jsonl.gz"))


def test_repeated_ids_and_times_that_run_backwards_are_told(desk: Any) -> None:
    events = [desk.event(number) for number in range(20)]
    events[7] = events[6]
    events[9]["time"], events[15]["time"] = "soon", "2026-01-01"
    log = desk.load(desk.write(desk.text(*events))).log
    assert (log.repeated_ids, log.backwards, log.without_time) == (1, 1, 1)
    assert len(log.oddities()) == 3
    assert desk.column("id") == [event["id"] for event in events]
    assert [time is None for time in desk.column("time")].index(True) == 9


@pytest.mark.parametrize(
    "name", ["log.jsonl", "log.csv", "log.parquet", "log.arrow", "log.jsonl.gz"]
)
def test_empty_file_is_refused(desk: Any, name: str) -> None:
    with pytest.raises(SourceError, match="empty"):
        desk.load(desk.write(b"", name))
    assert not desk.target.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("\n\n\n", "log.jsonl"),
        ("{broken\n", "log.jsonl"),
        ("id,type,data\n", "log.csv"),
        (gzip.compress(b"", mtime=0), "log.jsonl.gz"),
        ("[]", "log.json"),
        ("[\n1,\n2\n]\n", "log.json"),
        ("PAR1 but no more", "log.parquet"),
        (b"ARROW1\0\0", "log.arrow"),
        (b"\x7fELF\0\0\0", "program"),
    ],
)
def test_file_without_an_event_is_refused(desk: Any, content: str | bytes, name: str) -> None:
    with pytest.raises(SourceError):
        desk.load(desk.write(content, name))
    assert not desk.target.exists()


def test_what_is_no_file_is_refused(desk: Any) -> None:
    for wrong in (desk.folder, desk.folder / "missing.jsonl", desk.folder / "*.nothing"):
        with pytest.raises(SourceError):
            desk.load(wrong)
    path = desk.write(desk.text(desk.event(0)))
    with pytest.raises(SourceError, match="named twice"):
        desk.load(path, path)
    with pytest.raises(SourceError, match="no format"):
        desk.load(path, format="xml")


def test_damage_behind_many_good_lines_is_told_as_damage(desk: Any) -> None:
    """The error reaches the person, not what the abandoned insertion says of itself."""
    log = desk.text(
        *[desk.event(n, data={"n": json.dumps(n * 7919 % 99991)}) for n in range(120_000)]
    )
    packed = gzip.compress(log.encode())
    path = desk.write(packed[:-2000], "log.jsonl.gz")
    with pytest.raises(SourceError, match="damaged or was cut off"):
        desk.load(path)
    assert desk.leftovers() == []


@pytest.mark.parametrize("rows", [3, 3000, 30_000])
def test_bad_rows_of_csv_are_rejected(desk: Any, rows: int) -> None:
    good = "".join(f"e{number},A,{number}\n" for number in range(rows))
    bad = b"x,B,1,2,3\ny,B\nz\xff,B,1\n"
    desk.load(desk.write(b"id,type,n\n" + good.encode() + bad + b"last,C,5\n", "log.csv"))
    assert desk.column("id") == [*(f"e{number}" for number in range(rows)), "last"]
    rejects = desk.rejects()
    assert [line for line, _, _ in rejects] == [rows + 2, rows + 3, rows + 4]
    assert all(reason for _, reason, _ in rejects)


class TestOddColumns:
    """Names that DuckDB's structures can't hold are read all the same."""

    def test_names_that_differ_in_case_only(self, desk: Any) -> None:
        row = '{"Type":"v2","type":"Placed","data":{"n":0.10}}\n'
        desk.load(desk.write(row * 3), field_columns={"version": "Type"})
        assert desk.column("version") == ["v2"] * 3
        assert desk.column("type") == ["Placed"] * 3
        assert desk.column("data") == ['{"n":0.10}'] * 3

    def test_no_name_at_all(self, desk: Any) -> None:
        desk.load(desk.write('{"":"Placed","data":{"n":1}}\n'), field_columns={"type": ""})
        assert desk.column("type") == ["Placed"]

    def test_quotes_and_dots(self, desk: Any) -> None:
        row = '{"it\'s \\"x\\"":"Placed","a.b":"s","data":{"n":1}}\n'
        desk.load(desk.write(row), field_columns={"type": 'it\'s "x"', "stream": "a.b"})
        assert (desk.column("type"), desk.column("stream")) == (["Placed"], ["s"])

    def test_path_into_the_payload(self, desk: Any) -> None:
        row = '{"type":"Placed","data":{"order":{"no":17},"n":0.10}}\n'
        desk.load(desk.write(row), field_columns={"stream": "data.order.no", "data": "data"})
        assert desk.column("stream") == ["17"]
        assert [json.loads(data, parse_float=str) for data in desk.column("data")] == [
            {"order": {"no": 17}, "n": "0.10"}
        ]


def test_times_none_of_which_can_be_read_are_told(desk: Any) -> None:
    source = desk.write(desk.text({"at": "noon", "type": "T"}, {"at": "x", "type": "T"}))
    loaded = desk.load(source, field_columns={"time": "at"})
    assert loaded.log.oddities() == ["2 events without a time that can be read."]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\n \n", "holds blank lines only"), (b'\xef\xbb\xbf{\n"a": 1,\n"b": \n', "JSON document")],
)
def test_what_holds_no_event_says_what_it_is(desk: Any, content: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        desk.load(desk.write(content))
