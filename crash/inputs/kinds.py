"""The kinds of fuzzed inputs: what each mutates, and which commands read it."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash import sample
from crash.inputs import seeds
from crash.inputs.hostile_worker import hostile_program, hostile_projection
from crash.inputs.mutation import mutate_bytes, mutate_json, mutate_words, odd_value

WORKSPACE = "t.refold"
"""The workspace that tries only read."""
COPY = "c.refold"
"""A copy of it that a try may write, if its kind needs one."""
_RECORDS = 50
"""Mutated records or payloads in one file."""
_PATIENCE = ("--patience", "3")


@dataclass(frozen=True)
class Plan:
    """The commands of one try; `plan` has written their files into the folder."""

    commands: Sequence[Sequence[str]]
    inputs: int = 1


@dataclass(frozen=True)
class FuzzKind:
    """One kind of input."""

    plan: Callable[[random.Random, Path], Plan]
    share: float
    """How many of a thousand tries have this kind."""
    needs_copy: bool = False


def _load(name: str, *more: str, inputs: int = 1) -> Plan:
    load = ["load", name, "-o", "w.refold", "--json", *more]
    return Plan([load, ["events", "w.refold", "--json", "--limit", "200"]], inputs)


def _jsonl(draw: random.Random, folder: Path) -> Plan:
    first = draw.choice(seeds.RECORDS)
    records = [
        first if draw.random() < 0.7 else draw.choice(seeds.RECORDS) for _ in range(_RECORDS)
    ]
    lines = [json.dumps(first), *(mutate_json(draw, one) for one in records)]
    _write_text(folder / "log.jsonl", "\n".join(lines) + "\n")
    return _load("log.jsonl", inputs=_RECORDS)


def _json_document(draw: random.Random, folder: Path) -> Plan:
    records = [mutate_json(draw, draw.choice(seeds.RECORDS)) for _ in range(4)]
    whole = draw.choice(("[{}]", '{{"events": [{}]}}', '{{"Records": [{}]}}', "{}"))
    text = whole.format(",\n".join(records)).encode("utf-8", "surrogatepass")
    (folder / "log.json").write_bytes(mutate_bytes(draw, text) if draw.random() < 0.3 else text)
    return _load("log.json")


def _csv(draw: random.Random, folder: Path) -> Plan:
    separator, name = draw.choice(((",", "log.csv"), ("\t", "log.tsv"), (";", "log.csv")))
    rows = [list(row) for row in seeds.CSV_ROWS]
    for row in rows[1:]:
        row[draw.randrange(len(row))] = str(odd_value(draw))[:5000]
    if draw.random() < 0.2:
        rows[0][draw.randrange(6)] = str(odd_value(draw))[:50]
    quoted = draw.random() < 0.5
    cells = [[f'"{c}"' if quoted else c for c in row] for row in rows]
    text = "\n".join(separator.join(row) for row in cells).encode("utf-8", "surrogatepass")
    (folder / name).write_bytes(mutate_bytes(draw, text) if draw.random() < 0.3 else text)
    return _load(name, inputs=len(rows) - 1)


def _xes(draw: random.Random, folder: Path) -> Plan:
    text = seeds.XES
    if draw.random() < 0.2:
        odd = draw.choice(("utf-7", "cp037", "UTF-16", "x-none", "iso-8859-1", "", "big5", "hz"))
        text = text.replace("UTF-8", odd)
    data = text.encode(draw.choice(("utf-8", "utf-8", "utf-8", "utf-16", "cp037")))
    (folder / "log.xes").write_bytes(mutate_bytes(draw, data))
    return _load("log.xes")


def _parquet(draw: random.Random, folder: Path) -> Plan:
    (folder / "log.parquet").write_bytes(mutate_bytes(draw, seeds.parquet()))
    return _load("log.parquet")


def _arrow(draw: random.Random, folder: Path) -> Plan:
    (folder / "log.arrow").write_bytes(mutate_bytes(draw, draw.choice(seeds.arrow())))
    return _load("log.arrow")


def _compressed(draw: random.Random, folder: Path) -> Plan:
    name, data = draw.choice(seeds.compressed())
    (folder / name).write_bytes(mutate_bytes(draw, data))
    return _load(name)


def _bombs(draw: random.Random, folder: Path) -> Plan:
    name, data = draw.choice(seeds.bombs())
    (folder / name).write_bytes(data)
    return _load(name)


def _sqlite(draw: random.Random, folder: Path) -> Plan:
    path = folder / "log.sqlite"
    path.write_bytes(mutate_bytes(draw, seeds.sqlite(path)))
    return _load("log.sqlite")


def _duckdb(draw: random.Random, folder: Path) -> Plan:
    path = folder / "log.duckdb"
    path.write_bytes(mutate_bytes(draw, seeds.duckdb(path)))
    return _load("duckdb:log.duckdb?table=log", "--map", "stream=stream")


def _console(draw: random.Random, folder: Path) -> Plan:
    lines = [mutate_bytes(draw, seeds.CONSOLE.encode()) for _ in range(_RECORDS)]
    (folder / "topic.txt").write_bytes(b"\n".join([seeds.CONSOLE.encode(), *lines]) + b"\n")
    return _load("topic.txt", inputs=_RECORDS)


def _payloads(folder: Path, how: str, payloads: Sequence[str]) -> Plan:
    events = [
        {"id": f"p{n}", "stream": f"s{n % 5}", "type": "Paid", "data": payload}
        for n, payload in enumerate(payloads)
    ]
    _write_text(folder / "log.jsonl", "".join(f"{json.dumps(one)}\n" for one in events))
    options = ("--map", "data=data", "--decode", f"data={how}")
    return _load("log.jsonl", *options, inputs=len(payloads))


def _packed(draw: random.Random, folder: Path) -> Plan:
    import gzip
    import zlib

    import msgspec
    import pyarrow as pa
    import zstandard

    plain = b'{"n":1,"price":0.10,"big":12345678901234567890}'
    how, data = draw.choice(
        (
            ("gzip", gzip.compress(plain, mtime=0)),
            ("zlib", zlib.compress(plain)),
            ("zstd", zstandard.compress(plain)),
            ("snappy", bytes(pa.compress(plain, codec="snappy"))),
            ("msgpack", msgspec.msgpack.encode({"n": 1, "l": [1, {"a": None}], "t": "é"})),
            ("base64", plain),
        )
    )
    found = [seeds.base64_text(mutate_bytes(draw, data)) for _ in range(_RECORDS)]
    return _payloads(folder, how, found)


def _yaml(draw: random.Random, folder: Path) -> Plan:
    found = [
        mutate_bytes(draw, seeds.YAML_PAYLOAD.encode()).decode("utf-8", "replace")
        for _ in range(_RECORDS)
    ]
    if draw.random() < 0.1:
        found.append(seeds.YAML_BOMB)
    return _payloads(folder, "yaml", found)


def _avro(draw: random.Random, folder: Path) -> Plan:
    schema: Any = draw.choice(
        (seeds.AVRO_SCHEMA, seeds.AVRO_SCHEMA, seeds.RECURSIVE_AVRO, seeds.NULLS_AVRO)
    )
    text = mutate_json(draw, schema) if draw.random() < 0.4 else json.dumps(schema)
    _write_text(folder / "s.avsc", text)
    odd = (b"\x02" * 10_000, b"\xfe\xff\xff\xff\x0f" + b"\x00" * 20, b"\x80\x80\x80\x80\x20\x00")
    found = [mutate_bytes(draw, seeds.avro_payload()) for _ in range(_RECORDS)]
    found += [draw.choice(odd)]
    return _payloads(folder, "avro:s.avsc", [seeds.base64_text(one) for one in found])


def _protobuf(draw: random.Random, folder: Path) -> Plan:
    described, payload = seeds.protobuf()
    if draw.random() < 0.3:
        described = mutate_bytes(draw, described)
    (folder / "s.desc").write_bytes(described)
    deep = payload
    for _ in range(draw.choice((0, 0, 50, 3000))):
        deep = b"\x1a" + _varint(len(deep)) + deep
    found = [seeds.base64_text(mutate_bytes(draw, payload)) for _ in range(_RECORDS)]
    return _payloads(folder, "protobuf:s.desc:shop.Placed", [*found, seeds.base64_text(deep)])


def _recordings(draw: random.Random, folder: Path) -> Plan:
    way = draw.choice(("calls.yaml", "calls.har", "calls.jsonl"))
    if way == "calls.yaml":
        text = seeds.YAML_BOMB if draw.random() < 0.03 else seeds.CASSETTE
        data = mutate_bytes(draw, text.encode())
    elif way == "calls.har":
        data = mutate_json(draw, seeds.HAR).encode("utf-8", "surrogatepass")
    else:
        lines = [mutate_json(draw, draw.choice(seeds.JOURNAL)) for _ in range(10)]
        data = "\n".join(lines).encode("utf-8", "surrogatepass")
    (folder / way).write_bytes(data)
    return Plan([["calls-import", COPY, way, "--json"], ["calls", COPY, "--json"]])


def _toml(draw: random.Random, folder: Path) -> Plan:
    lines = seeds.TOML.splitlines()
    for _ in range(draw.randint(1, 2)):
        at = draw.randrange(len(lines))
        name, equals, _ = lines[at].partition(" = ")
        odd = json.dumps(odd_value(draw), ensure_ascii=False).replace("null", '""')
        lines[at] = f"{name}{equals}{odd}" if equals else lines[at]
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    if draw.random() < 0.4:
        data = mutate_bytes(draw, data)
    (folder / "refold.toml").write_bytes(data)
    return Plan(
        [
            ["trust", "refold.toml"],
            ["state", WORKSPACE, "-p", "orders", "--json", "--limit", "2"],
            ["load", "shop", "-o", "w.refold", "--json"],
            ["calls", WORKSPACE, "-p", "orders", "--json"],
        ]
    )


def _event_condition(draw: random.Random, folder: Path) -> Plan:  # noqa: ARG001 - needs no file
    text = mutate_words(draw, draw.choice(seeds.CONDITIONS))
    return Plan([["events", WORKSPACE, "--json", "--limit", "5", "--where", text]])


def _state_condition(draw: random.Random, folder: Path) -> Plan:  # noqa: ARG001 - needs no file
    text = mutate_words(draw, draw.choice(seeds.STATE_CONDITIONS))
    return Plan([["find", WORKSPACE, "-p", "orders", "--json", "--", text]])


def _query(draw: random.Random, folder: Path) -> Plan:  # noqa: ARG001 - needs no file
    text = mutate_words(draw, draw.choice(seeds.QUERIES))
    return Plan([["sql", WORKSPACE, "--json", "--", text]])


def _position(draw: random.Random, folder: Path) -> Plan:  # noqa: ARG001 - needs no file
    text = draw.choice(seeds.POSITIONS)
    if draw.random() < 0.5:
        text = mutate_bytes(draw, text.encode()).decode("utf-8", "replace").replace("\x00", "")
    else:
        text = mutate_words(draw, text)
    return Plan(
        [["state", WORKSPACE, "-p", "orders", "--json", "--limit", "1", f"--at={text[:9000]}"]]
    )


def _edit(draw: random.Random, folder: Path) -> Plan:  # noqa: ARG001 - needs no file
    event = {
        "type": "Paid",
        "stream": "order-1",
        "data": {"qty": 1},
        "time": "2026-01-03T12:00:00Z",
    }
    text = mutate_json(draw, event).replace("\x00", "")[:60_000]
    path = draw.choice(
        ("qty", "lines[0].qty", "type", "time", '$."a b".c', mutate_words(draw, "a.b[0]"))
    )
    value = mutate_json(draw, 5).replace("\x00", "")[:60_000]
    way = draw.choice(
        (
            ["--insert", f"5={text}"],
            ["--replace", f"5={text}"],
            ["--append", text],
            ["--set", "5", path, value],
        )
    )
    return Plan(
        [
            ["fork", COPY, "x", "--json", *way],
            ["events", COPY, "--timeline", "x", "--json"],
            ["compare", COPY, "main", "x", "-p", "orders.py", "--json"],
        ]
    )


def _fork_file(draw: random.Random, folder: Path) -> Plan:
    content = json.loads((folder.parent / "templates" / seeds.FORK_FILE_NAME).read_text())
    _write_text(folder / "f.json", mutate_json(draw, content))
    return Plan(
        [
            ["fork-apply", COPY, "f.json", "--name", "x", "--json"],
            ["events", COPY, "--timeline", "x", "--json", "--limit", "20"],
        ]
    )


def _frames(draw: random.Random, folder: Path) -> Plan:
    (folder / "hostile.py").write_text(hostile_projection(draw.randrange(2**31)))
    return Plan([["replay", COPY, "-p", "hostile.py", "--json", *_PATIENCE]])


def _program_lines(draw: random.Random, folder: Path) -> Plan:
    (folder / "hostile.py").write_text(hostile_program(draw.randrange(2**31)))
    return Plan([["replay", COPY, "-p", "cmd:python3 hostile.py", "--json", *_PATIENCE]])


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


KINDS = {
    "jsonl": FuzzKind(_jsonl, 170),
    "json": FuzzKind(_json_document, 20),
    "csv": FuzzKind(_csv, 60),
    "xes": FuzzKind(_xes, 20),
    "parquet": FuzzKind(_parquet, 30),
    "arrow": FuzzKind(_arrow, 40),
    "compressed": FuzzKind(_compressed, 30),
    "bombs": FuzzKind(_bombs, 1),
    "sqlite": FuzzKind(_sqlite, 20),
    "duckdb": FuzzKind(_duckdb, 20),
    "console-consumer": FuzzKind(_console, 30),
    "packed": FuzzKind(_packed, 70),
    "yaml": FuzzKind(_yaml, 20),
    "avro": FuzzKind(_avro, 50),
    "protobuf": FuzzKind(_protobuf, 40),
    "recordings": FuzzKind(_recordings, 60, needs_copy=True),
    "refold.toml": FuzzKind(_toml, 50),
    "event-conditions": FuzzKind(_event_condition, 60),
    "state-conditions": FuzzKind(_state_condition, 60),
    "sql": FuzzKind(_query, 60),
    "positions": FuzzKind(_position, 40),
    "edits": FuzzKind(_edit, 40, needs_copy=True),
    "fork-files": FuzzKind(_fork_file, 30, needs_copy=True),
    "worker-frames": FuzzKind(_frames, 15, needs_copy=True),
    "program-lines": FuzzKind(_program_lines, 15, needs_copy=True),
}


def prepare_folder(folder: Path, run: Callable[..., None]) -> None:
    """Make the workspace that the kinds read; `run` runs a refold command in the folder."""
    sample.write_log(folder / "log.jsonl", 60)
    (folder / "orders.py").write_text(sample.PROJECTION)
    run("load", "log.jsonl", "-o", WORKSPACE)
    run("replay", WORKSPACE, "-p", "orders.py")
    run("fork", WORKSPACE, "a", "--drop", "7", "--set", "9", "qty", "5")
    run("fork-export", WORKSPACE, "a", seeds.FORK_FILE_NAME)
    (folder / "log.jsonl").unlink()
