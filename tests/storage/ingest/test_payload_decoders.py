"""Opaque payloads, packed or in other notations; what can't be read stays, is counted, and the load goes on."""

import base64
import gzip
import io
import json
import sqlite3
import zlib
from typing import Any

import fastavro
import msgspec
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import SourceError
from storage.ingest.payload_decoders import Decoder
from tests.support import protobuf_messages

VALUE = {"n": 1, "text": "é", "items": [1, {"a": None}]}
PLAIN = b'{"n":1,"price":0.10,"big":12345678901234567890}'
SCHEMA = {
    "type": "record",
    "name": "Paid",
    "fields": [{"name": "n", "type": "long"}, {"name": "raw", "type": "bytes"}],
}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PACKED = {
    "base64": b64(PLAIN),
    "hex": PLAIN.hex(),
    "gzip": b64(gzip.compress(PLAIN)),
    "base64+gzip": b64(gzip.compress(PLAIN)),
    "hex+zlib": zlib.compress(PLAIN).hex(),
    "zlib": b64(zlib.compress(PLAIN)),
    "zstd": b64(zstandard.compress(PLAIN)),
    "snappy": b64(bytes(pa.compress(PLAIN, codec="snappy"))),
    "base64+zstd+gzip": b64(zstandard.compress(gzip.compress(PLAIN))),
}


@pytest.mark.parametrize("how", PACKED)
def test_what_is_packed_is_unpacked_to_the_last_digit(desk: Any, how: str) -> None:
    rows = [desk.event(n, data=PACKED[how]) for n in range(3)] + [desk.event(3, data={"n": 3})]
    loaded = desk.load(
        desk.write(desk.text(*rows)), decoders={"data": how}, field_columns={"data": "data"}
    )
    assert desk.column("data") == [PLAIN.decode()] * 3 + ['{"n":3}']
    assert loaded.undecoded == 0


def test_other_notations() -> None:
    assert json.loads(Decoder("msgpack")(json.dumps(b64(msgspec.msgpack.encode(VALUE))))) == VALUE
    ruby = "---\n:order: 7\nlines:\n- !ruby/object:Line\n  sku: a\nat: !ruby/x 2026\n"
    found = json.loads(Decoder("yaml")(json.dumps(ruby)))
    assert found == {":order": 7, "lines": [{"sku": "a"}], "at": "2026"}
    assert Decoder("base64")(json.dumps(b64(b"\xac\xed\x00\x05"))) == '"aced0005"'
    assert Decoder("base64")(json.dumps(b64(b"plain"))) == '"plain"'


def test_avro_by_a_schema(desk: Any) -> None:
    schema = desk.write(json.dumps(SCHEMA), "paid.avsc")
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, {"n": 7, "raw": b"\x01"})
    row = desk.event(1, data=b64(out.getvalue()))
    desk.load(
        desk.write(desk.text(row)),
        decoders={"data": f"avro:{schema}"},
        field_columns={"data": "data"},
    )
    assert desk.column("data") == ['{"n":7,"raw":"AQ=="}']


def test_messages_of_a_descriptor(desk: Any) -> None:
    compiled = desk.write(protobuf_messages.compiled(), "shop.desc")
    rows = [
        desk.event(1, data=b64(protobuf_messages.placed(7, 10))),
        desk.event(2, data=b64(gzip.compress(protobuf_messages.placed(8, 20)))),
        desk.event(3, data=b64(b"\xff\xff")),
    ]
    said = f"protobuf:{compiled}:shop.Placed"
    loaded = desk.load(
        desk.write(desk.text(*rows)), decoders={"data": said}, field_columns={"data": "data"}
    )
    assert json.loads(desk.column("data")[0]) == {
        "order_id": "7",
        "total": {"cents": 10},
        "time": "2026-01-02T03:04:05Z",
    }
    assert loaded.undecoded == 2
    found = Decoder(f"gzip+{said}")(json.dumps(rows[1]["data"]))
    assert json.loads(found)["order_id"] == "8"


def test_a_descriptor_without_what_it_imports_is_refused(desk: Any) -> None:
    alone = desk.write(protobuf_messages.compiled(with_imports=False), "alone.desc")
    with pytest.raises(SourceError, match="is no message of a descriptor set"):
        Decoder(f"protobuf:{alone}:shop.Placed")
    with pytest.raises(SourceError, match=r"there is no message shop\.Nothing in it"):
        Decoder(f"protobuf:{desk.write(protobuf_messages.compiled(), 'shop.desc')}:shop.Nothing")


def test_what_cannot_be_decoded_stays_and_is_counted(desk: Any) -> None:
    payloads = ["!!!", b64(b"no gzip"), b64(gzip.compress(PLAIN)), b64(gzip.compress(PLAIN)[:-9])]
    rows = [desk.event(n, data=payload) for n, payload in enumerate(payloads)]
    loaded = desk.load(
        desk.write(desk.text(*rows)), decoders={"data": "gzip"}, field_columns={"data": "data"}
    )
    found = desk.column("data")
    assert [json.loads(found[n]) for n in (0, 1, 3)] == [payloads[n] for n in (0, 1, 3)]
    assert found[2] == PLAIN.decode()
    assert loaded.undecoded == 3


def test_appends_are_decoded_too(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(0, data=PACKED["zlib"])))
    desk.load(path, decoders={"data": "zlib"}, field_columns={"data": "data"})
    desk.grow(path, desk.text(desk.event(1, data=PACKED["zlib"])))
    desk.load(path)
    assert desk.column("data") == [PLAIN.decode()] * 2
    with pytest.raises(SourceError, match="another mapping"):
        desk.load(path, decoders={"data": "gzip"})


def test_blobs_of_a_database(desk: Any) -> None:
    path = desk.folder / "store.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE e (type TEXT, stream TEXT, payload BLOB)")
    connection.execute("INSERT INTO e VALUES ('T', 's', ?)", [zlib.compress(PLAIN)])
    connection.commit()
    connection.close()
    desk.load(
        f"sqlite:{path}?table=e", decoders={"data": "zlib"}, field_columns={"data": "payload"}
    )
    assert desk.column("data") == [PLAIN.decode()]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"data": "rot13"}, "no decoder 'rot13'; there are base64"),
        ({"data": "avro:/nowhere.avsc"}, "is no Avro schema"),
        ({"data": "avro"}, "is no Avro schema"),
        ({"data": "protobuf"}, "is no message of a descriptor set"),
        ({"data": "protobuf:/nowhere.desc:a.B"}, "is no message of a descriptor set"),
        ({"data": "gzip:x"}, "no decoder 'gzip:x'"),
        ({"type": "gzip"}, "takes data and meta, and not 'type'"),
    ],
)
def test_what_is_not_known_is_said(desk: Any, how: dict[str, str], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        desk.load(desk.write(desk.text(desk.event(1))), decoders=how)
    assert not desk.target.exists()


def test_bombs_do_not_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.ingest.payload_decoders.MAX_UNPACKED_BYTES", 1 << 20)
    bomb = b"\0" * (4 << 20)
    for how, packed in (
        ("gzip", gzip.compress(bomb)),
        ("zlib", zlib.compress(bomb)),
        ("zstd", zstandard.compress(bomb)),
        ("snappy", bytes(pa.compress(bomb, codec="snappy"))),
        ("snappy", b"\xff\xff\xff\xff\x0f" + b"x" * 20),
        ("yaml", b"- " * 50_000),
        ("msgpack", b"\x91" * 100_000),
    ):
        decoder = Decoder(f"base64+{how}")
        text = json.dumps(b64(packed))
        assert decoder(text) == text
        assert decoder.failure_count == 1


@given(
    st.binary(max_size=60), st.sampled_from(["gzip", "zlib", "zstd", "snappy", "msgpack", "yaml"])
)
def test_any_bytes_give_json(data: bytes, how: str) -> None:
    found = Decoder(f"base64+{how}")(json.dumps(b64(data)))
    json.loads(found or "null")
