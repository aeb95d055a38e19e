"""Which column is which field, for logs as other tools write them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from storage.errors import SourceError
from storage.ingest.format_detection import detect_mapping
from storage.ingest.mapping import FieldMapping

MOMENT = datetime(2026, 1, 3, 12, 0, 0, tzinfo=UTC)


def columns(mapping: FieldMapping) -> dict[str, str]:
    return {field: source.column_text for field, source in mapping.fields.items()}


def found(*records: dict[str, Any], **given: str) -> dict[str, str]:
    return columns(detect_mapping(records, given, "log"))


def test_marten() -> None:
    rows = [
        {
            "seq_id": 10 + n,
            "id": f"0198-{n}",
            "stream_id": f"s{n % 2}",
            "version": n // 2 + 1,
            "data": {"n": n},
            "type": "order_placed",
            "timestamp": "2026-01-03T12:00:00+00:00",
            "tenant_id": "*DEFAULT*",
            "mt_dotnet_type": "Orders.OrderPlaced, Orders",
        }
        for n in range(6)
    ]
    assert found(*rows) == {
        "offset": "seq_id",
        "id": "id",
        "stream": "stream_id",
        "revision": "version",
        "data": "data",
        "type": "type",
        "time": "timestamp",
        "meta": "all fields that are not mapped",
    }


def test_process_mining_csv_with_semicolons(desk: Any) -> None:
    text = "case_id;activity;timestamp;cost\n1;Register;03.01.2026 12:00:00;1,5\n1;Pay;04.01.2026 13:00:00;2\n"
    loaded = desk.load(desk.write(text, "log.csv"))
    assert columns(loaded.mapping) == {
        "stream": "case_id",
        "type": "activity",
        "time": "timestamp",
    }
    assert desk.column("CAST(time AS VARCHAR)") == [
        "2026-01-03 12:00:00+00",
        "2026-01-04 13:00:00+00",
    ]


def test_message_db() -> None:
    row = {"global_position": 1, "position": 0, "time": "2026-01-03 12:00:00", "id": "m1"}
    row |= {"stream_name": "order-1", "type": "Placed", "data": {"n": 1}, "metadata": {"a": 1}}
    mapped = found(row, row | {"global_position": 2, "position": 1, "id": "m2"})
    assert mapped["offset"] == "global_position"
    assert (mapped["stream"], mapped["meta"]) == ("stream_name", "metadata")


def test_axon() -> None:
    row = {
        "globalIndex": 1,
        "aggregateIdentifier": "a",
        "sequenceNumber": 0,
        "eventIdentifier": "e0",
    }
    row |= {"timeStamp": "2026-01-03T12:00:00Z", "payload": '{"n":1}', "payloadRevision": "1"}
    mapped = found(row, row | {"globalIndex": 2, "sequenceNumber": 1, "eventIdentifier": "e1"})
    assert mapped["stream"] == "aggregateIdentifier"
    assert (mapped["revision"], mapped["offset"]) == ("sequenceNumber", "globalIndex")
    assert (mapped["id"], mapped["version"]) == ("eventIdentifier", "payloadRevision")


def test_cloudevents() -> None:
    row = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "order-1"}
    row |= {"time": "2026-01-03T12:00:00Z", "data": {"n": 1}}
    mapped = found(row)
    assert mapped["stream"] == "subject, else source"
    assert (mapped["type"], mapped["time"]) == ("type", "time")


def test_version_that_repeats_is_a_version_and_no_revision() -> None:
    rows = [{"stream": "s", "version": 1, "type": "T", "data": {}} for _ in range(5)]
    assert "revision" not in found(*rows)
    assert found(*rows)["version"] == "version"


def test_name_counts_only_where_the_values_agree() -> None:
    mapped = found(*[{"time": {"start": 1}, "type": ["a"], "data": "plain", "id": 7}] * 3)
    assert mapped == {}


def test_a_log_may_begin_with_events_of_as_many_types() -> None:
    rows = [{"type": f"T{n}", "stream": f"s{n}", "data": {"n": n}} for n in range(300)]
    assert found(*rows)["type"] == "type"
    rows = [{"name": f"T{n}", "stream": f"s{n}", "data": {"n": n}} for n in range(300)]
    assert "type" not in found(*rows)


def test_time_is_found_by_its_values() -> None:
    assert found({"geschehen": "2026-01-03T12:00:00Z", "n": "1"}) == {"time": "geschehen"}


@pytest.mark.parametrize(
    ("unit", "notation"),
    [(1, "epoch_s"), (10**3, "epoch_ms"), (10**6, "epoch_us"), (10**9, "epoch_ns")],
)
@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_epochs(desk: Any, name: str, unit: int, notation: str) -> None:
    seconds = int(MOMENT.timestamp())
    values = [(seconds + n) * unit + (unit // 4) for n in range(3)]
    if name == "log.csv":
        text = "ts,type\n" + "".join(f"{value},T\n" for value in values)
    else:
        text = "".join(f'{{"ts":{value},"type":"T"}}\n' for value in values)
    loaded = desk.load(desk.write(text, name))
    assert loaded.mapping.time_notation == notation
    fraction = 250_000 if unit > 1 else 0
    assert desk.column("epoch_us(time)") == [(seconds + n) * 10**6 + fraction for n in range(3)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-03T12:00:00Z", "2026-01-03 12:00:00+00"),
        ("2026-01-03T12:00:00+02:00", "2026-01-03 10:00:00+00"),
        ("2026-01-03 12:00:00", "2026-01-03 12:00:00+00"),
        ("2026-01-03", "2026-01-03 00:00:00+00"),
        ("2026/01/03 12:00:00.5", "2026-01-03 12:00:00.5+00"),
        ("03/Jan/2026:12:00:00 +0100", "2026-01-03 11:00:00+00"),
        ("1767441600.25", "2026-01-03 12:00:00.25+00"),
    ],
)
def test_notations(desk: Any, new_york: None, text: str, expected: str) -> None:
    desk.load(desk.write(f'{{"time":"{text}","type":"T"}}\n'))
    assert desk.column("CAST(time AS VARCHAR)") == [expected]


def test_path_into_a_column(desk: Any) -> None:
    rows = [desk.event(n, time=None, meta={"dt": f"2026-01-0{n}"}) for n in (1, 2)]
    desk.load(desk.write(desk.text(*rows)), field_columns={"time": "meta.dt"})
    assert desk.column("day(time)") == [1, 2]
    assert desk.column("meta->>'dt'") == ["2026-01-01", "2026-01-02"]


def test_what_is_given_must_exist(desk: Any) -> None:
    for given, what in (
        ({"flavour": "id"}, "no field 'flavour'"),
        ({"id": "nope"}, "column 'nope'"),
    ):
        with pytest.raises(SourceError, match=what):
            detect_mapping([desk.event(1)], given, "log")


def test_log_without_a_stream_is_one_stream_of_its_own_name(desk: Any) -> None:
    desk.load(desk.write('{"type":"T","data":{}}\n', "or'ders.jsonl"))
    assert desk.column("stream") == ["or'ders"]


def test_mapping_survives_its_json() -> None:
    mapping = detect_mapping([{"id": "1", "ts": 1767441600, "type": "T", "x": 1}], {}, "log")
    assert FieldMapping.from_json(mapping.to_json()) == mapping


def test_description_names_every_field_that_a_person_would_miss() -> None:
    described = {
        row[0]: row[1:] for row in detect_mapping([{"ts": 1767441600}], {}, "log").describe_fields()
    }
    assert described["time"] == ("ts", "name, read as epoch_s")
    assert described["stream"][1] == "the whole log is one stream, log"
    assert described["offset"][1] == "the order of the lines"
    assert described["data"][1] == "all fields that are not mapped"


def test_what_stands_beside_the_data_is_meta(desk: Any) -> None:
    rows = [{"id": f"e{n}", "type": "T", "data": {"n": n}, "extra": n} for n in range(3)]
    desk.load(desk.write(desk.text(*rows) + '{"id":"e3","type":"T","data":{},"new":1.50}\n'))
    assert desk.column("meta") == ['{"extra":0}', '{"extra":1}', '{"extra":2}', '{"new":1.50}']
    rows = [{**row, "meta": {"by": "ann"}} for row in rows]
    desk.load(desk.write(desk.text(*rows)), replace=True)
    assert desk.column("meta") == ['{"by":"ann"}'] * 3
