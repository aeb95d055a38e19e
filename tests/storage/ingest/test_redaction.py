"""Values that are redacted at load never reach the workspace; equal ones stay equal."""

import json
from typing import Any

import pyarrow as pa
import pytest
from cryptography.fernet import InvalidToken

from storage.errors import SourceError
from storage.ingest.redaction import Redaction, ValueRemoval
from storage.workspace import schema
from tests.storage.ingest.envelopes.test_envelopes import SHAPES

SECRET = "ann.s3cret@example.org"
NUMBER = "4111-1111-1111-1111"


@pytest.fixture(autouse=True)
def config(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def everything(desk: Any) -> str:
    """All that stands in the workspace."""
    said = [str(desk.ask(f'SELECT * FROM "{table.name}"')) for table in schema.TABLES]
    return "".join(said) + desk.target.read_bytes().decode("latin-1")


def test_the_value_is_nowhere_and_equal_ones_stay_equal(desk: Any) -> None:
    rows = [
        desk.event(n, data={"n": n, "price": 1, "user": {"email": email}, "to": [{"email": email}]})
        for n, email in enumerate([SECRET, "b@x", SECRET, None])
    ]
    text = desk.text(*rows).replace('"price": 1,', '"price": 0.10,')
    loaded = desk.load(
        desk.write(text), redacted_paths=("data.user.email", "data.to.email", "stream", "meta.x")
    )
    assert SECRET not in everything(desk)
    found = [json.loads(one) for one in desk.column("data")]
    emails = [one["user"]["email"] for one in found]
    assert emails[0] == emails[2] != emails[1]
    assert emails[3] is None
    assert [one["to"][0]["email"] for one in found] == emails
    assert all('"price":0.10' in one.replace(" ", "") for one in desk.column("data"))
    assert len(set(desk.column("stream"))) == 3
    assert all(name.startswith("redacted-") for name in desk.column("stream"))
    assert "without data.user.email, data.to.email" in str(loaded.mapping.describe_fields())


def test_lines_that_need_a_second_look_and_rejects(desk: Any) -> None:
    rows = [
        desk.event(1, data={"email": SECRET}),
        # A number's place inside of a string: SQL can't read it.
        desk.event(2, data={"email": SECRET, "text": '[0.10, "x": 1.50, {"a":0.10,'}),
    ]
    text = desk.text(*rows) + f'{{"broken": "{SECRET}"\n' + f'"{SECRET}"\n'
    desk.load(
        desk.write(text.encode() + b'{"\xff": "' + SECRET.encode() + b'"}\n'),
        redacted_paths=("data.email",),
    )
    assert SECRET not in everything(desk)
    assert len(desk.column("id")) == 2
    assert len(desk.rejects()) == 3
    assert {(reason, text) for _, reason, text in desk.rejects()} == {
        ("it can't be read, and --redact keeps nothing of it", "")
    }
    assert len({json.loads(one)["email"] for one in desk.column("data")}) == 1


def test_appends_are_redacted_with_the_same_key(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(1, data={"email": SECRET})))
    desk.load(path, redacted_paths=("data.email",))
    desk.grow(path, desk.text(desk.event(2, data={"email": SECRET})))
    desk.load(path)
    assert SECRET not in everything(desk)
    assert len({json.loads(one)["email"] for one in desk.column("data")}) == 1
    with pytest.raises(SourceError, match="another mapping"):
        desk.load(path, redacted_paths=("data.name",))


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_records_in_another_format_are_kept_without_what_they_say(desk: Any, name: str) -> None:
    rows = [dict(row, data={"email": SECRET}) for row in SHAPES["marten"].records * 2]
    if name.endswith("jsonl"):
        text = desk.text(*rows, {"note": SECRET})
    else:
        names = list(rows[0])
        cells = [
            [json.dumps(r[n]).replace('"', '""') if n == "data" else str(r[n]) for n in names]
            for r in rows
        ]
        text = (
            ",".join(names)
            + "\n"
            + "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in cells)
        )
    desk.load(desk.write(text, name), redacted_paths=("data.email",))
    assert SECRET not in everything(desk)


def test_what_is_decoded_is_redacted_afterwards(desk: Any) -> None:
    import base64
    import zlib

    packed = base64.b64encode(zlib.compress(json.dumps({"email": SECRET}).encode())).decode()
    desk.load(
        desk.write(desk.text(desk.event(1, data=packed))),
        decoders={"data": "zlib"},
        redacted_paths=("data.email",),
        field_columns={"data": "data"},
    )
    assert json.loads(desk.column("data")[0])["email"].startswith("redacted-")


@pytest.mark.parametrize("path", ["email", "data..x", "time", "stream.x", "", "data."])
def test_paths_that_lead_nowhere_are_refused(desk: Any, path: str) -> None:
    with pytest.raises(SourceError, match="Begin it with one of data, meta"):
        desk.load(desk.write(desk.text(desk.event(1))), redacted_paths=(path,))
    assert not desk.target.exists()


def test_whatever_the_value_is() -> None:
    redaction = Redaction(["data.a", "data.*.b", "meta"], b"key")
    assert redaction.redact_field("data", '{"a":1.10,"c":{"b":[1],"d":0.10}}') == (
        redaction.redact_field("data", '{"a":1.10,"c":{"b":[1],"d":0.10}}')
    )
    assert '"d":0.10' in str(redaction.redact_field("data", '{"a":1.10,"c":{"b":[1],"d":0.10}}'))
    assert "1.10" not in str(redaction.redact_field("data", '{"a":1.10}'))
    assert redaction.redact_field("data", '"text"') == '"text"'
    assert str(redaction.redact_field("meta", '{"x":1}')).startswith('"redacted-')
    assert redaction.redact_field("meta", None) is None
    assert "x" not in str(redaction.redact_field("data", '{"a":' + "[" * 100_000))
    line = "é\n" * 50
    [covered] = redaction.encrypt_lines(pa.chunked_array([[line]])).to_pylist()
    assert "é" not in covered
    assert redaction.decrypt_line(covered) == line


def test_a_changed_line_is_not_decrypted() -> None:
    redaction = Redaction(["data.a"], b"key")
    [covered] = redaction.encrypt_lines(pa.chunked_array([["a line"]])).to_pylist()
    changed = covered[:-6] + ("A" if covered[-6] != "A" else "B") + covered[-5:]
    with pytest.raises(InvalidToken):
        redaction.decrypt_line(changed)


INSIDE = {
    "name and value": {"name": "card", "value": NUMBER},
    "key and value": {
        "headers": [{"Key": "other", "Value": "x"}, {"Key": "Card", "Value": NUMBER}]
    },
    "list of pairs": {"headers": [["accept", "*/*"], ["Card", NUMBER]]},
    "JSON in a text": {"headers": json.dumps({"n": 1, "card": NUMBER})},
    "JSON in a text in a text": {"headers": json.dumps([json.dumps({"card": NUMBER})])},
    "XML element": {"headers": f"<a n='1'><x:card t='1'> {NUMBER} </x:card></a>"},
    "XML CDATA": {"headers": f"<a><card><![CDATA[{NUMBER}]]></card></a>"},
    "XML attribute": {"headers": f"<a n='1' card='{NUMBER}'/>"},
}


@pytest.mark.parametrize("shape", INSIDE)
def test_a_path_leads_into_pairs_and_texts(shape: str) -> None:
    paths = ["data.card", "data.headers.card"]
    met: set[str] = set()
    text = json.dumps(INSIDE[shape])
    redaction = Redaction(paths, b"key")
    hashed = str(redaction.redact_field("data", text))
    assert NUMBER not in hashed
    assert "redacted-" in hashed
    assert hashed.count("redacted-") == 1
    removed = str(ValueRemoval(paths, seen_values=met).redact_field("data", text))
    assert NUMBER not in removed
    assert "redacted-" not in removed
    assert {one.strip() for one in met} == {NUMBER}
    for other in ("data.cards", "data.headers.cards", "data.other.card"):
        assert Redaction([other], b"key").redact_field("data", text) == text


def test_texts_that_hold_nothing_of_a_path_stay_as_they_are() -> None:
    for data in (
        {"headers": "{broken"},
        {"headers": "<card"},
        {"headers": "a < b"},
        {"headers": "x"},
    ):
        text = json.dumps(data)
        assert Redaction(["data.headers.card"], b"key").redact_field("data", text) == text
