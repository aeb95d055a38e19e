"""Damaged and hostile recording files: each gives calls or one error sentence, within bounds."""

import base64
import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gateway import http_encoding
from gateway.exchange import import_export
from gateway.ports import PortSet
from storage.errors import SourceError
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.mutators import mutations

HAR = {
    "log": {
        "entries": [
            {
                "request": {
                    "method": "POST",
                    "url": f"https://risk.example:8080/score/{n}?q=1",
                    "headers": [
                        {"name": "content-type", "value": "multipart/form-data; boundary=x"}
                    ],
                    "postData": {"mimeType": "a/b", "text": '{"a":[1]}'},
                },
                "response": {
                    "status": 200,
                    "content": {"text": "eyJhIjoxfQ==", "encoding": "base64"},
                },
            }
            for n in range(3)
        ]
    }
}
CASSETTE = """interactions:
- request: &request {method: GET, uri: 'http://[::1]:80/a', headers: {a: [b]}, body: '{"a": 1}'}
  response: {status: {code: 200, message: OK}, headers: {}, body: {string: '{"x": [1, 2.50]}'}}
- request: *request
  response: {status: {code: 200, message: OK}, headers: {}, body: {string: 'text'}}
version: 1
"""
JOURNAL = "".join(
    json.dumps({"port": "rates", "operation": "rate", "request": {"n": n}, "response": [1, {}]})
    + "\n"
    for n in range(3)
)
FILES = {"calls.har": json.dumps(HAR), "calls.yaml": CASSETTE, "calls.jsonl": JOURNAL}


def take_in(desk: Any, path: Path) -> int:
    return import_export.import_recordings(WorkspaceFile(desk), path, PortSet()).call_count


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    from storage.ingest.loader import load_source

    log = tmp_path / "log.jsonl"
    log.write_text('{"type":"A","stream":"s","data":{}}\n')
    return load_source([str(log)], tmp_path / "kept.refold").workspace


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_are_imported_or_refused(workspace: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    assert take_in(workspace, path) >= 2
    for data in mutations(FILES[name].encode(), 40, seed=2):
        path.write_bytes(data)
        with contextlib.suppress(SourceError):
            take_in(workspace, path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.har",
            json.dumps(HAR).replace("https://risk.example:8080", "http://[x"),
            "entry 1 can't",
        ),
        ("a.yaml", "a: " + "[" * 100_000, "nested deeper than 100"),
        (
            "b.yaml",
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
            + "\ninteractions: *a11",
            "once its aliases are followed",
        ),
        ("c.yaml", "interactions: &a [*a]", "doesn't end before the alias"),
        ("a.jsonl", '{"port":"p","operation":"o","request":' + "[" * 100_000, "line 1"),
    ],
)
def test_hostile_files_are_refused_in_one_sentence(
    workspace: Path, tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        take_in(workspace, path)


def test_a_body_that_expands_too_far_stays_compressed() -> None:
    headers = [("content-encoding", "gzip")]
    bomb = gzip.compress(bytes(32 << 20))
    assert http_encoding.decode_response(headers, bomb)[1] == bomb
    plain = base64.b64encode(bytes(range(256))) * 100
    assert http_encoding.decode_response(headers, gzip.compress(plain))[1] == plain
