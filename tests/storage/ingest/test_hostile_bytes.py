"""Damaged and hostile files: one sentence or the events, within bounds, and never a crash of refold."""

import base64
import contextlib
import ctypes
import errno
import gzip
import io
import json
import lzma
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from replay.worker.environment import syscall_table
from storage.errors import SourceError
from storage.ingest.format_detection import detect_mapping
from storage.ingest.formats import ReadPass
from storage.ingest.io import raw_json
from storage.ingest.parser import batch_frame, parser_limits, parser_process
from storage.ingest.payload_decoders import Decoder
from storage.ingest.sources import expand_names, open_part
from tests.support.mutators import mutations

EVENTS = [
    {"id": f"e{n}", "time": f"2026-01-03T12:00:{n:02}Z", "stream": f"order-{n % 3}"}
    | {"type": "Placed", "data": {"n": n, "items": [{"sku": "a", "quantity": 1.5}] * (n % 3)}}
    for n in range(40)
]


def write_arrow(path: Path) -> None:
    table = pa.Table.from_pylist(EVENTS)
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, 20)


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(EVENTS), path)


def write_duckdb(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.register("events_given", pa.Table.from_pylist(EVENTS))
        connection.execute("CREATE TABLE log AS SELECT * FROM events_given")


def write_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE log (id TEXT, time TEXT, stream TEXT, type TEXT, data TEXT)")
    rows = [[*list(event.values())[:4], json.dumps(event["data"])] for event in EVENTS]
    connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()


def write_json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))


def write_xes(path: Path) -> None:
    event = "<event><string key='concept:name' value='a'/><int key='n' value='1'/></event>"
    path.write_text(f"<log><trace><string key='concept:name' value='c'/>{event * 20}</trace></log>")


WRITERS: dict[str, Callable[[Path], None]] = {
    "log.arrow": write_arrow,
    "log.parquet": write_parquet,
    "log.duckdb": write_duckdb,
    "log.db": write_sqlite,
    "log.jsonl": write_json_lines,
    "log.xes": write_xes,
}


def read_all(path: Path) -> int:
    """Read a source to its end, without a workspace; return its rows."""
    kind = {".db": "sqlite:", ".duckdb": "duckdb:"}.get(path.suffix)
    piece = open_part(f"{kind}{path}?table=log" if kind else expand_names([str(path)])[0])
    mapping = detect_mapping(list(piece.read_sample()), {}, "log")
    return sum(batch.num_rows for batch in piece.read_batches(ReadPass(piece.path), mapping))


@pytest.mark.parametrize("name", WRITERS)
def test_mutated_files_are_read_or_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    healthy = path.read_bytes()
    assert read_all(path) in (20, 40)
    for data in mutations(healthy, 40, seed=1):
        path.write_bytes(data)
        with contextlib.suppress(SourceError):
            read_all(path)
    path.write_bytes(healthy)
    assert read_all(path) in (20, 40)


def test_a_crash_of_the_reader_is_a_sentence(tmp_path: Path) -> None:
    """The reader is ended as Arrow ends at offsets that lie outside of what is mapped."""
    path = tmp_path / "log.arrow"
    write_arrow(path)
    with parser_process.parser_of(str(path)) as parser:
        os.kill(parser._process.pid, signal.SIGSTOP)
        parser._process.send_signal(signal.SIGSEGV)
        os.kill(parser._process.pid, signal.SIGCONT)
        parser._process.wait()
        with pytest.raises(SourceError, match=r"crashed the parser \(SIGSEGV\).*write it again"):
            list(parser.ask({"op": "sample", "format": "arrow", "path": str(path)}, "log", "Arrow"))
    assert read_all(path) == 40


class _Pipe(io.BytesIO):
    """Frames as they arrive."""


def _frame(header: dict[str, Any], data: bytes = b"") -> _Pipe:
    text = json.dumps(header).encode()
    return _Pipe(len(text).to_bytes(4, "little") + text + data)


def _read_frame(stream: io.BytesIO, schema: pa.Schema) -> pa.RecordBatch:
    header = batch_frame.read_header(stream) or {}
    return batch_frame.join_batch(header, batch_frame.read_buffers(stream, header), schema)


@pytest.mark.parametrize(
    "frame",
    [
        _Pipe(b"\xff\xff\xff\xff"),
        _Pipe(b"\x05\0\0\0nope!"),
        _frame({"kind": "batch", "buffers": [1 << 40]}),
        _frame({"kind": "batch", "buffers": [-2]}),
        _frame({"kind": "batch", "buffers": [1 << 29, 1 << 29, 1 << 29]}),
        _frame({"kind": "batch", "buffers": "all"}),
        _frame({"kind": "batch", "rows": 3, "nodes": [[3, 0]], "buffers": [-1, 64, 8]}, b"abc"),
        _frame({"kind": "batch", "rows": 3, "nodes": [[3, 9]], "buffers": [-1, 16, 4]}, bytes(128)),
        _frame({"kind": "batch", "rows": 9, "nodes": [[9, 0]], "buffers": [-1, 16, 4]}, bytes(128)),
        _frame({"kind": "batch", "rows": 1, "nodes": [[1, 0]], "buffers": [-1]}),
        _frame({"kind": "batch", "rows": 1, "nodes": [], "buffers": []}),
        _frame(
            {"kind": "batch", "rows": 1, "nodes": [[1, 0]], "buffers": [-1, 8, 4]},
            (0).to_bytes(4, "little") + (1 << 30).to_bytes(4, "little") + bytes(120),
        ),
        _frame(
            {"kind": "batch", "rows": 1, "nodes": [[1, 0]], "buffers": [-1, 8, 4]},
            (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(56) + b"\xff" * 64,
        ),
    ],
)
def test_forged_frames_are_refused(frame: _Pipe) -> None:
    schema = pa.schema([("text", pa.string())])
    with pytest.raises(batch_frame.FrameError):
        _read_frame(frame, schema)


@pytest.mark.parametrize(
    "described",
    [None, 5, [["a"]], [["a", "no such type"]], [[1, "int64"]], [["a", ["list", "x"]]]]
    + [[["a", ["decimal", 10**9, 1]]], [["a", ["array", -1, "x", "int8"]]]],
)
def test_forged_schemas_are_refused(described: Any) -> None:
    with pytest.raises(batch_frame.FrameError):
        batch_frame.read_schema(described)


def test_frames_carry_every_type() -> None:
    batch = pa.RecordBatch.from_pylist(
        [
            {"a": [1, None], "s": {"x": "é", "y": [b"1"]}, "n": None, "b": True},
            {"a": None, "s": None},
        ]
    )
    for one in (batch, batch.slice(1)):
        stream = io.BytesIO()
        header, buffers = batch_frame.split_batch(one)
        batch_frame.write_frame(stream, header, buffers)
        stream.seek(0)
        schema = batch_frame.read_schema(batch_frame.describe_schema(one.schema))
        assert _read_frame(stream, schema).to_pylist() == one.to_pylist()


def test_a_reader_can_start_nothing_and_write_nothing(tmp_path: Path) -> None:
    if not parser_limits.is_supported():
        pytest.skip("this kernel has no seccomp or no landlock")
    outside = tmp_path / "outside"
    pid = os.fork()
    if pid == 0:
        failures = 0
        parser_limits.shut_in(0, [])
        for attempt in (
            lambda: outside.write_text("x"),
            lambda: __import__("socket").socket(),
            lambda: os.execv("/bin/true", ["true"]),
            os.fork,
            lambda: os.kill(os.getppid(), 0),
        ):
            try:
                attempt()
            except OSError:
                failures += 1
        os._exit(failures)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert not outside.exists()


CHANGES_OF_FOLDERS = frozenset(
    (
        *("creat", "truncate", "rename", "renameat", "renameat2", "link", "linkat", "unlink"),
        *("unlinkat", "symlink", "symlinkat", "mkdir", "mkdirat", "rmdir", "flock"),
    )
)
"""Calls that a parser needs in its scratch folder; elsewhere landlock refuses them."""


def test_a_reader_is_refused_every_call_that_a_worker_is() -> None:
    if not parser_limits.is_supported():
        pytest.skip("this kernel has no seccomp or no landlock")
    refused = syscall_table.refused_calls(os.uname().machine)
    libc = ctypes.CDLL(None, use_errno=True)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        parser_limits.shut_in(0, [])
        made = []
        for name in sorted(refused.keys() - CHANGES_OF_FOLDERS):
            ctypes.set_errno(0)
            # No call succeeds with these arguments, but only a filter answers EPERM to each.
            libc.syscall(refused[name], *[ctypes.c_long(-1)] * 6)
            if ctypes.get_errno() != errno.EPERM:
                made.append(name)
        os.write(writing, " ".join(made).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        assert stream.read() == ""
    os.waitpid(pid, 0)


ZEROS = 400 << 20


def _zstd_of_zeros() -> bytes:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    block = bytes(16 << 20)
    return b"".join(packer.compress(block) for _ in range(ZEROS // len(block))) + packer.flush()


def _gzip_of_zeros() -> bytes:
    return gzip.compress(bytes(16 << 20), 6) * (ZEROS // (16 << 20))


def _xz_of_zeros() -> bytes:
    return lzma.compress(bytes(16 << 20), preset=0) * (ZEROS // (16 << 20))


@pytest.mark.parametrize("pack", [_zstd_of_zeros, _gzip_of_zeros, _xz_of_zeros])
def test_a_bomb_is_refused(desk: Any, pack: Callable[[], bytes]) -> None:
    event = desk.text(desk.event(1)).encode()
    begun = {
        _zstd_of_zeros: zstandard.compress(event),
        _gzip_of_zeros: gzip.compress(event),
        _xz_of_zeros: lzma.compress(event),
    }
    path = desk.write(begun[pack] + pack(), "log.jsonl")
    with pytest.raises(SourceError, match=r"expands more than 500 times over 256 MiB|over 256 MiB"):
        desk.load(path)
    assert not desk.target.exists()


def test_what_repeats_itself_is_no_bomb(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.ingest.io.expansion_limit.WINDOW_BYTES", 1 << 20)
    text = "".join(desk.text(desk.event(n)) for n in range(20_000))
    loaded = desk.load(desk.write(gzip.compress(text.encode()), "log.jsonl.gz"))
    assert loaded.events == 20_000


RECURSIVE = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "next", "type": ["null", "Node"]}, {"name": "n", "type": "int"}],
}
NULLS = {
    "type": "record",
    "name": "Nulls",
    "fields": [{"name": "all", "type": {"type": "array", "items": "null"}}],
}
DOUBLING = {
    "type": "record",
    "name": "Level40",
    "fields": [{"name": "only", "type": "null"}],
}
for _level in range(39, 0, -1):
    DOUBLING = {
        "type": "record",
        "name": f"Level{_level}",
        "fields": [
            {"name": "one", "type": DOUBLING},
            {"name": "two", "type": f"Level{_level + 1}"},
        ],
    }


def _avro_of(tmp_path: Path, schema: Any) -> Decoder:
    path = tmp_path / "schema.avsc"
    path.write_text(json.dumps(schema))
    return Decoder(f"base64+avro:{path}")


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        (RECURSIVE, b"\x02" * 10_000),
        (NULLS, b"\xfe\xff\xff\xff\xff\x7f\0"),
        (DOUBLING, b""),
    ],
)
def test_avro_beyond_its_bytes_stays_as_it_is(tmp_path: Path, schema: Any, payload: bytes) -> None:
    decoder = _avro_of(tmp_path, schema)
    text = json.dumps(base64.b64encode(payload).decode())
    assert decoder(text) == text
    assert decoder.failure_count == 1


def test_avro_of_a_recursive_schema_is_read(tmp_path: Path) -> None:
    value: Any = {"next": None, "n": 0}
    for n in range(1, 50):
        value = {"next": value, "n": n}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, RECURSIVE, value)
    text = json.dumps(base64.b64encode(out.getvalue()).decode())
    assert json.loads(_avro_of(tmp_path, RECURSIVE)(text) or "") == value


def _yaml_of_aliases() -> str:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(levels)


@pytest.mark.parametrize(
    "text",
    [
        _yaml_of_aliases(),
        "a: &a [*a]",
        "a: &a {x: 1}\n" + "".join(f"b{n}: &b{n} {{<<: [*a, *a]}}\n" for n in range(3)) + "c: *d",
        "n: " + "1:" * 100_000 + "1",
        f"long: &l {'x' * 100_000}\nall: [" + "*l, " * 9_999 + "*l]",
    ],
)
def test_yaml_beyond_its_bytes_stays_as_it_is(text: str) -> None:
    decoder = Decoder("yaml")
    assert decoder(json.dumps(text)) == json.dumps(text)
    assert decoder.failure_count == 1


def test_yaml_with_aliases_is_read() -> None:
    text = "a: &a {x: 1, y: [1, 2]}\nb: *a\nc: {<<: *a, z: 3}"
    found = json.loads(Decoder("yaml")(json.dumps(text)) or "")
    assert found == {
        "a": {"x": 1, "y": [1, 2]},
        "b": {"x": 1, "y": [1, 2]},
        "c": {"x": 1, "y": [1, 2], "z": 3},
    }


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ('<!DOCTYPE log [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>', "&b;"),
        ('<!DOCTYPE log [<!ENTITY a SYSTEM "file:///etc/passwd">]>', "&a;"),
        ('<!DOCTYPE log SYSTEM "http://127.0.0.1:9/x.dtd">', ""),
        ("", "<list key='a'>" * 100_000),
    ],
)
def test_xml_that_is_more_than_it_says_is_refused(desk: Any, head: str, body: str) -> None:
    log = f"<?xml version='1.0'?>{head}<log><trace><event><string key='a' value='x'/>{body}"
    with pytest.raises(SourceError, match=r"Remove the declaration|Flatten it"):
        desk.load(desk.write(log + "</event></trace></log>", "log.xes"))


def test_a_list_of_too_many_items_is_refused(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_json, "MAX_ITEMS", 1_000)
    monkeypatch.setattr(raw_json, "_CHUNK", 64)
    events = [desk.event(n, data={"text": 'a,"[,\\', "n": [1, 2, 3]}) for n in range(900)]
    assert desk.load(desk.write(json.dumps(events), "log.json")).events == 900
    many = json.dumps(events + [1] * 200)
    with pytest.raises(SourceError, match=r"more than 1,000 items"):
        desk.load(desk.write(many, "many.json"), replace=True)


def test_many_lines_that_are_no_events(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number decides how long they take, not its square; beyond a bound they are refused."""
    text = desk.text(desk.event(1)) + "1\n" * 30_000 + desk.text(desk.event(2))
    assert desk.load(desk.write(text)).events == 2
    assert len(desk.rejects()) == 30_000
    monkeypatch.setattr("storage.ingest.formats.MAX_REJECTS", 10_000)
    with pytest.raises(SourceError, match=r"more than 10,000 lines that are not events"):
        desk.load(desk.write(text, "other.jsonl"), replace=True)
