"""Loading from Kafka and PostgreSQL, against their own tools, which only copy bytes."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bench.logs import orders
from storage.ingest import sources
from storage.ingest.format_detection import detect_mapping
from storage.ingest.loader import load_source
from tests.support import servers

_BY_NAME = ("id", "stream", "revision", "type", "time", "data")


def figures(events: int) -> Iterator[str]:
    """Yield the figures of Kafka, PostgreSQL, and of recognising a format."""
    log = orders(events)
    with tempfile.TemporaryDirectory(prefix="refold-bench-") as folder:
        yield _recognised(log)
        if servers.KAFKA and shutil.which("kcat"):
            yield _kafka(log, events, Path(folder))
        else:
            yield "kafka: not measured; it needs kcat, and REFOLD_TEST_KAFKA"
        if servers.POSTGRES is not None:
            yield _postgresql(log, events, Path(folder))
        else:
            yield "postgresql: not measured; it isn't installed"


def _recognised(log: Path) -> str:
    began = time.perf_counter()
    looked = sources.open_part(str(log))
    records = looked.read_sample()
    middle = time.perf_counter()
    detect_mapping(records, {}, "log")
    took = time.perf_counter()
    return (
        f"a format recognised in {1000 * (took - began):.0f} ms (at most 200),"
        f" of which {1000 * (took - middle):.0f} decide"
    )


def _kafka(log: Path, events: int, folder: Path) -> str:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    with servers.kafka(folder) as broker:
        admin = AdminClient({"bootstrap.servers": broker.plain, "log_level": 0})
        admin.create_topics([NewTopic("orders", 1, 1)])["orders"].result(20)
        producer = Producer({"bootstrap.servers": broker.plain, "linger.ms": 20, "log_level": 0})
        with log.open("rb") as lines:
            for number, line in enumerate(islice(lines, events)):
                if number % 1_000 == 0:
                    producer.poll(0)
                while True:
                    try:
                        producer.produce("orders", line.rstrip(), key=line[8:20])
                        break
                    except BufferError:
                        producer.poll(0.1)
        producer.flush()
        kcat = _best(
            ["kcat", "-b", broker.plain, "-C", "-t", "orders", "-o", "beginning", "-e", "-q"]
        )
        took = _loaded(f"kafka://{broker.plain}/orders", folder / "kafka.refold", events)
    return _format_ratio("kafka", "kcat", kcat, took, events)


def _postgresql(log: Path, events: int, folder: Path) -> str:
    import psycopg

    with servers.postgres(folder) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE mt_events (seq_id bigint PRIMARY KEY, id text, stream_id text,"
            " version bigint, type text, timestamp timestamptz, data jsonb, mt_dotnet_type text)"
        )
        with (
            connection.cursor().copy("COPY mt_events FROM STDIN") as copy,
            log.open("rb") as lines,
        ):
            for number, line in enumerate(islice(lines, events)):
                event = json.loads(line)
                row = [event[name] for name in _BY_NAME if name != "data"]
                copy.write_row(
                    (number + 1, *row, json.dumps(event["data"]), f"Shop.{event['type']}")
                )
        connection.execute("VACUUM ANALYZE mt_events")
        copied = _best(["psql", url, "-c", "COPY mt_events TO STDOUT"])
        took = _loaded(url, folder / "postgresql.refold", events)
    return _format_ratio("postgresql", "COPY", copied, took, events)


def _best(command: list[str]) -> float:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return min(times)


def _loaded(link: str, target: Path, events: int) -> float:
    times = []
    for _ in range(3):
        target.unlink(missing_ok=True)
        began = time.perf_counter()
        assert load_source([link], target).appended == events
        times.append(time.perf_counter() - began)
    return min(times)


def _format_ratio(what: str, tool: str, theirs: float, ours: float, events: int) -> str:
    return (
        f"{what} loaded {events:,} events in {ours:.2f} s, {tool} in {theirs:.2f} s:"
        f"  ratio {theirs / ours:.2f} (at least 0.5)"
    )
