"""Numbers in a JSON log survive to the last digit, wherever they stand and however they look."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage.ingest.loader import load_source
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.properties import examples

digits = st.text("0123456789", min_size=1, max_size=25)
whole = digits.map(lambda text: text.lstrip("0") or "0")
sign = st.sampled_from(["", "-"])
fraction = st.one_of(st.just(""), digits.map(lambda text: "." + text))
exponent = st.one_of(
    st.just(""),
    st.builds(
        "{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 300)
    ),
)
numbers = st.builds("{}{}{}{}".format, sign, whole, fraction, exponent)
space = st.sampled_from(["", "", " ", "  ", "\t", " \t "])
likeness = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "[", ": ", ",", '":', "{", "\\", "e"]),
    numbers,
    st.sampled_from(["", "]", ",", "}", " ", '"', "x", "\\"]),
)
texts = st.one_of(likeness, st.text(max_size=8)).map(
    lambda text: json.dumps(text, ensure_ascii=False)
)
leaves = st.one_of(numbers, texts, st.sampled_from(["null", "true", "false"]))


def lists(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda items, gap: "[" + f"{gap},{gap}".join(items) + "]",
        st.lists(children, max_size=5),
        space,
    )


def objects(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(texts, children), max_size=4, unique_by=lambda pair: pair[0])
    return st.builds(
        lambda pairs, gap: "{" + ",".join(f"{k}{gap}:{gap}{v}{gap}" for k, v in pairs) + "}",
        members,
        space,
    )


documents = objects(
    st.recursive(leaves, lambda inner: lists(inner) | objects(inner), max_leaves=12)
)


def exact(text: str) -> Any:
    """JSON with every number as the text it was written as."""
    return json.loads(text, parse_float=lambda t: ("number", t), parse_int=lambda t: ("number", t))


def kept(lines: list[str]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="digits-") as folder:
        log, target = Path(folder) / "log.jsonl", Path(folder) / "log.refold"
        log.write_bytes("".join(line + "\n" for line in lines).encode())
        load_source([str(log)], target)
        with WorkspaceFile(target).reading() as connection:
            rejects = connection.execute("SELECT reason, text FROM rejects").fetchall()
            assert rejects == []
            rows = connection.execute('SELECT data FROM events ORDER BY "offset"').fetchall()
    return [row[0] for row in rows]


few = settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))


@few
@given(st.lists(documents, min_size=1, max_size=50))
@example(['{"a":[0.10, 0.10,0.10],"b":"[0.10,","c":-0,"d":1E5,"e":0.000012340}'])
@example(['{"a":"\\": 1.50}","b":"\\\\","c":12345678901234567890.10}'])
def test_in_the_data_column(payloads: list[str]) -> None:
    lines = ['{"type":"T","data":{}}'] * len(payloads)  # the sample says that data are objects
    lines += [f'{{"type":"T","data":{payload}}}' for payload in payloads]
    found = kept(lines)[len(payloads) :]
    assert [exact(text) for text in found] == [exact(payload) for payload in payloads]


@few
@given(st.lists(documents, min_size=1, max_size=50))
@example(['{"a":{"z":null},"b":[0.10,{"type":1.0}],"c":null}'])
def test_in_unmapped_fields(payloads: list[str]) -> None:
    lines = [f'{{"type":"T","rest":{payload},"n" : 0.10 }}' for payload in payloads]
    found = [exact(text) for text in kept(lines)]
    assert found == [{"rest": exact(payload), "n": ("number", "0.10")} for payload in payloads]


@few
@given(st.lists(numbers, min_size=1, max_size=50))
def test_in_scalar_fields(values: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="digits-") as folder:
        log, target = Path(folder) / "log.jsonl", Path(folder) / "log.refold"
        lines = ['{"id":"x","type":"T","data":{}}\n']
        lines += [f'{{"id":{value},"type":"T","data":{{}}}}\n' for value in values]
        log.write_text("".join(lines))
        from storage.ingest.loader import LoadOptions

        load_source([str(log)], target, LoadOptions(field_columns={"id": "id"}))
        with WorkspaceFile(target).reading() as connection:
            rows = connection.execute('SELECT id FROM events ORDER BY "offset"').fetchall()
    assert [row[0] for row in rows] == ["x", *values]
