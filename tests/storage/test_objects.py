"""Objects in a store that speaks S3, on loopback: single ones, patterns, folders that are columns."""

import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from pyarrow import fs

from storage.errors import SourceError
from tests.servers import free_ports


class Bucket:
    """A bucket to be filled."""

    def __init__(self, port: int) -> None:
        self._system = fs.S3FileSystem(
            access_key="a",
            secret_key="s3cretword",
            endpoint_override=f"127.0.0.1:{port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        self._system.create_dir("logs")
        self._parameters = f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"

    def put(self, key: str, content: bytes) -> None:
        with self._system.open_output_stream(f"logs/{key}", compression=None) as stream:
            stream.write(content)

    def link(self, key: str) -> str:
        return f"s3://logs/{key}{self._parameters}"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    from moto.server import ThreadedMotoServer

    (port,) = free_ports(1)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "s3cretword")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield Bucket(port)
    server.stop()


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
    desk.load(bucket.link("hive/**/*.parquet"), fields={"version": "month"})
    assert desk.column("id") == ["e10", "e11", "e20", "e21"]
    assert desk.column("version") == ["1", "1", "2", "2"]


def test_folders_that_are_columns_on_disk(desk: Any) -> None:
    for month in (1, 2):
        folder = desk.folder / "year=2026" / f"month={month}"
        folder.mkdir(parents=True)
        (folder / "p.parquet").write_bytes(parquet(month * 10, 2))
    desk.load(f"{desk.folder}/**/*.parquet", fields={"version": "month"})
    assert desk.column("version") == ["1", "1", "2", "2"]


def test_what_is_not_there(desk: Any, bucket: Bucket) -> None:
    for key, said in (
        ("none.jsonl", r"There is no object s3://logs/none\.jsonl"),
        ("none/*.jsonl", r"No object matches s3://logs/none/\*\.jsonl"),
    ):
        with pytest.raises(SourceError, match=said):
            desk.load(bucket.link(key))
    bad = bucket.link("x.jsonl").replace("region=us-east-1", "flavour=sweet")
    with pytest.raises(SourceError, match=r"s3://logs/x\.jsonl can't be read"):
        desk.load(bad)
    with pytest.raises(SourceError, match="Credentials don't belong") as raised:
        desk.load("s3://a:s3cretword@logs/x.jsonl")
    assert "s3cretword" not in raised.value.message
