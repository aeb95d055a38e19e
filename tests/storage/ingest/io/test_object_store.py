"""Objects in stores that speak as Amazon's and Google's do, on loopback, one or many."""

import gzip
import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet
import pytest
from pyarrow import fs

from storage.errors import SourceError
from tests.support.servers import free_ports

pytestmark = pytest.mark.external


class Bucket:
    """A bucket to be filled."""

    def __init__(self, system: fs.FileSystem, before: str, parameters: str) -> None:
        self._system = system
        self._before = before
        self._parameters = parameters
        system.create_dir("logs")

    def put(self, key: str, content: bytes) -> None:
        with self._system.open_output_stream(f"logs/{key}", compression=None) as stream:
            stream.write(content)

    def link(self, key: str) -> str:
        return f"{self._before}logs/{key}?{self._parameters}"


@contextmanager
def of_s3(port: int) -> Iterator[Bucket]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    place = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http", "region": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "s3cretword")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        system = fs.S3FileSystem(allow_bucket_creation=True, **place)
        yield Bucket(system, "s3://", urlencode(place, safe=":"))
    server.stop()


@contextmanager
def of_google(port: int) -> Iterator[Bucket]:
    program = Path(sys.executable).with_name("gcp-storage-emulator")
    server = subprocess.Popen(
        [program, "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not listens(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    place = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http"}
    system = fs.GcsFileSystem(anonymous=True, project_id="shop", **place)
    yield Bucket(system, "gs://anonymous@", urlencode(place, safe=":"))
    server.kill()
    server.wait()


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=[of_s3, of_google], ids=["s3", "gs"])
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    (port,) = free_ports(1)
    with request.param(port) as found:
        yield found


def rows(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"e{n}", "stream": "s", "type": "T", "data": {"n": n}}
        for n in range(first, first + count)
    ]


def lines(first: int, count: int) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows(first, count)).encode()


def parquet(first: int, count: int) -> bytes:
    out = io.BytesIO()
    flat = [{**row, "data": json.dumps(row["data"])} for row in rows(first, count)]
    pa.parquet.write_table(pa.Table.from_pylist(flat), out)
    return out.getvalue()


def test_an_object_that_grows(desk: Any, bucket: Bucket) -> None:
    bucket.put("one/log.jsonl", lines(0, 3))
    link = bucket.link("one/log.jsonl")
    assert desk.load(link).format == "jsonl"
    assert desk.load(link).appended == 0
    bucket.put("one/log.jsonl", lines(0, 5))
    assert desk.load(link).appended == 2
    assert desk.column("id") == [f"e{n}" for n in range(5)]
    bucket.put("one/log.jsonl", lines(7, 5))
    with pytest.raises(SourceError, match="no longer begins with"):
        desk.load(link)


@pytest.mark.parametrize("packed", [False, True])
def test_a_pattern(desk: Any, bucket: Bucket, packed: bool) -> None:
    for n in (1, 2, 10):
        content = lines(n * 10, 2)
        name = f"many{packed}/part-{n}.jsonl" + ".gz" * packed
        bucket.put(name, gzip.compress(content) if packed else content)
    bucket.put(f"many{packed}/other.txt", b"nothing")
    bucket.put(f"many{packed}/deeper/part-3.jsonl", lines(99, 1))
    pattern = bucket.link(f"many{packed}/part-*.jsonl" + ".gz" * packed)
    desk.load(pattern)
    assert desk.column("id") == ["e10", "e11", "e20", "e21", "e100", "e101"]
    name = f"many{packed}/part-11.jsonl" + ".gz" * packed
    bucket.put(name, gzip.compress(lines(110, 1)) if packed else lines(110, 1))
    assert desk.load(pattern).appended == 1


def test_other_formats(desk: Any, bucket: Bucket) -> None:
    bucket.put("f/log.csv", b"id,stream,type,n\ne0,s,T,0.10\ne1,s,T,1\n")
    assert desk.load(bucket.link("f/log.csv")).format == "csv"
    assert desk.column("data") == ['{"n":0.10}', '{"n":1}']
    bucket.put("f/log.json", json.dumps(rows(0, 2)).encode())
    assert desk.load(bucket.link("f/log.json"), replace=True).format == "json"
    table = pa.Table.from_pylist([{**row, "data": "{}"} for row in rows(0, 2)])
    out = io.BytesIO()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    bucket.put("f/log.arrow", out.getvalue())
    assert desk.load(bucket.link("f/log.arrow"), replace=True).format == "arrow"
    assert desk.column("id") == ["e0", "e1"]


def test_folders_that_are_columns(desk: Any, bucket: Bucket) -> None:
    for month in (1, 2):
        bucket.put(f"hive/year=2026/month={month}/p.parquet", parquet(month * 10, 2))
    desk.load(bucket.link("hive/**/*.parquet"), field_columns={"version": "month"})
    assert desk.column("id") == ["e10", "e11", "e20", "e21"]
    assert desk.column("version") == ["1", "1", "2", "2"]


def test_folders_that_are_columns_on_disk(desk: Any) -> None:
    for month in (1, 2):
        folder = desk.folder / "year=2026" / f"month={month}"
        folder.mkdir(parents=True)
        (folder / "p.parquet").write_bytes(parquet(month * 10, 2))
    desk.load(f"{desk.folder}/**/*.parquet", field_columns={"version": "month"})
    assert desk.column("version") == ["1", "1", "2", "2"]


def test_what_is_not_there(desk: Any, bucket: Bucket) -> None:
    for key, said in (
        ("none.jsonl", r"There is no object \w+://(anonymous@)?logs/none\.jsonl"),
        ("none/*.jsonl", r"No object matches \w+://(anonymous@)?logs/none/\*\.jsonl"),
    ):
        with pytest.raises(SourceError, match=said):
            desk.load(bucket.link(key))
    bad = f"{bucket.link('x.jsonl')}&flavour=sweet"
    with pytest.raises(SourceError, match=r"logs/x\.jsonl can't be read"):
        desk.load(bad)


def test_nobody_is_logged_in(desk: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    for name in ("HOME", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(
        SourceError, match=r"gs://logs/x\.jsonl can't be read, because no credentials"
    ):
        desk.load("gs://logs/x.jsonl?retry_limit_seconds=1")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(
        SourceError, match=r"gs://logs/x\.jsonl can't be read, because no credentials"
    ):
        desk.load("gs://logs/x.jsonl?retry_limit_seconds=1")


def test_credentials_in_a_name(desk: Any) -> None:
    for scheme in ("s3", "gs"):
        with pytest.raises(SourceError, match="must not hold credentials") as raised:
            desk.load(f"{scheme}://a:s3cretword@logs/x.jsonl")
        assert "s3cretword" not in raised.value.message
