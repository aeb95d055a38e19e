"""Topics of Kafka: on a mock cluster, which runs on every machine, and on a real broker."""

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import SourceError
from storage.ingest.sources import uris
from storage.ingest.sources.kafka.java_properties import to_librdkafka_settings
from storage.ingest.sources.kafka.partition_merge import PartitionMerge
from storage.ingest.sources.kafka.settings import read_settings as settings_of
from storage.ingest.sources.kafka.topics import URI_OPTIONS
from tests.support import protobuf_messages, servers
from tests.support.properties import examples

T = 1767441600000


class Cluster:
    """A broker, with functions that write into it."""

    def __init__(self, servers: str, producer: Producer) -> None:
        self.servers = servers
        self.producer = producer

    def link(self, topics: str, **wishes: Any) -> str:
        said = "&".join(f"{name.rstrip('_')}={value}" for name, value in wishes.items())
        return f"kafka://{self.servers}/{topics}" + (f"?{said}" if said else "")

    def write(self, topic: str, *records: dict[str, Any]) -> None:
        for n, record in enumerate(records):
            value = record.get("value")
            self.producer.produce(
                topic,
                value if isinstance(value, bytes | None) else json.dumps(value).encode(),
                key=record.get("key"),
                partition=record.get("partition", 0),
                timestamp=T + 1000 * record.get("at", n),
                headers=record.get("headers"),
            )
        assert self.producer.flush(20) == 0


def created(topic: str, n: int, **others: Any) -> dict[str, Any]:
    return {"value": {"n": n}, "key": f"{topic}-{n % 2}", **others}


@pytest.fixture(scope="module")
def mock() -> Cluster:
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    return Cluster(f"{broker.host}:{broker.port}", producer)


def test_a_topic(desk: Any, mock: Cluster) -> None:
    mock.write(
        "orders",
        {"value": b'{"n":0.10}', "key": "o-1", "headers": [("type", b"Placed"), ("id", b"e0")]},
        {"value": b'{"n":1}', "key": "o-2", "headers": [("type", b"Paid"), ("trace", b"\xff\x00")]},
        {"value": None, "key": "o-2"},
        {"value": b"plain text", "key": None},
        {"value": b"\xff\x00\xfe", "key": b"\xff"},
    )
    loaded = desk.load(mock.link("orders"))
    assert loaded.format == "kafka"
    assert loaded.mapping.order_description.startswith("per partition")
    assert desk.column("type") == ["Placed", "Paid", "orders", "orders", "orders"]
    assert desk.column("stream") == ["o-1", "o-2", "o-2", "orders", "FF"]
    assert desk.column("data") == ['{"n":0.10}', '{"n":1}', None, '"plain text"', '"/wD+"']
    assert desk.column("source_position") == [f"0:{n}" for n in range(5)]
    assert desk.column("epoch(time)::BIGINT") == [T // 1000 + n for n in range(5)]
    assert desk.column("id")[0] == "e0"
    assert json.loads(desk.column("meta")[0])[0] == {"key": "type", "value": "Placed"}
    assert json.loads(desk.column("meta")[1])[1] == {"key": "trace", "value": "/wA="}


def test_next_load_continues_where_the_last_one_ended(desk: Any, mock: Cluster) -> None:
    mock.write("growing", *(created("g", n, partition=n % 2) for n in range(6)))
    link = mock.link("growing")
    assert desk.load(link).appended == 6
    assert desk.load(link).appended == 0
    mock.write("growing", *(created("g", n, partition=n % 2) for n in range(6, 9)))
    assert desk.load(link).appended == 3
    assert sorted(desk.column("source_position")) == sorted(f"{n % 2}:{n // 2}" for n in range(9))


def test_partitions_are_merged_by_time(desk: Any, mock: Cluster) -> None:
    times = [(0, 1), (1, 2), (1, 3), (0, 4), (0, 2), (1, 5), (0, 6)]
    for number, (partition, at) in enumerate(times):
        mock.write("parted", created("p", number, partition=partition, at=at))
    desk.load(mock.link("parted"))
    # 4 comes before 2, because it was written before 2 in partition 0.
    assert [json.loads(t)["n"] for t in desk.column("data")] == [0, 1, 2, 3, 4, 5, 6]
    assert desk.column("epoch(time)::BIGINT")[3:5] == [T // 1000 + 4, T // 1000 + 2]


def test_ranges(desk: Any, mock: Cluster) -> None:
    mock.write("ranged", *(created("r", n, partition=n % 2, at=n) for n in range(20)))

    def numbers(**wishes: Any) -> list[int]:
        desk.load(mock.link("ranged", **wishes), replace=True)
        return [json.loads(text)["n"] for text in desk.column("data")]

    assert numbers(partitions="1") == list(range(1, 20, 2))
    assert numbers(from_=8) == [16, 17, 18, 19]
    assert numbers(from_=-1) == [18, 19]
    assert numbers(from_=2, to=4) == [4, 5, 6, 7]


def test_several_topics(desk: Any, mock: Cluster) -> None:
    mock.write("first", *(created("a", n, at=2 * n) for n in range(3)))
    mock.write("second", *(created("b", n, at=2 * n + 1) for n in range(3)))
    loaded = desk.load(mock.link("first,second"))
    assert desk.column("type") == ["first", "second"] * 3
    assert loaded.log.backward_time_count == 0


def test_envelopes_inside(desk: Any, mock: Cluster) -> None:
    value = {
        "schema": None,
        "payload": {
            "before": None,
            "after": {"id": 4, "total": 1},
            "source": {"db": "shop", "table": "orders", "ts_ms": T},
            "op": "c",
        },
    }
    mock.write("cdc", {"value": value, "key": "4"}, {"value": None, "key": "4"})
    loaded = desk.load(mock.link("cdc"))
    assert loaded.format == "kafka+kafka-connect+debezium"
    assert desk.column("type") == ["orders.c", "cdc"]
    assert desk.column("data") == ['{"id":4,"total":1}', None]


def test_errors_name_the_problem(desk: Any, mock: Cluster, tmp_path: Any) -> None:
    mock.write("orders", created("o", 1))
    with pytest.raises(SourceError, match=r"names no topic; write kafka://HOST:PORT/TOPIC"):
        desk.load(mock.link(""))
    with pytest.raises(SourceError, match="neither an offset nor a time"):
        desk.load(mock.link("orders", from_="yesterday"))
    with pytest.raises(SourceError, match="no partition 99"):
        desk.load(mock.link("orders", partitions=99))
    config = tmp_path / "client.properties"
    config.write_text("sasl.password=${REFOLD_NO_SUCH_VARIABLE}\n")
    with pytest.raises(SourceError, match="REFOLD_NO_SUCH_VARIABLE, which isn't set"):
        desk.load(mock.link("orders", config=config))
    config.write_text("no.such.setting=1\n")
    with pytest.raises(SourceError, match="refuses the configuration"):
        desk.load(mock.link("orders", config=config))
    assert not desk.target.exists()


def test_a_broker_that_is_not_there(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.ingest.sources.kafka.topics._METADATA_TIMEOUT_SECONDS", 2.0)
    (port,) = servers.free_ports(1)
    with pytest.raises(SourceError, match=rf"kafka://127.0.0.1:{port}/orders: .*(answer|reached)"):
        desk.load(f"kafka://127.0.0.1:{port}/orders")


def test_a_broker_that_goes_away(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.ingest.sources.kafka.reader.PATIENCE_SECONDS", 1.0)
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    cluster = Cluster(f"{broker.host}:{broker.port}", producer)
    cluster.write("gone", created("g", 1))
    from storage.ingest.sources.kafka import topics

    piece = topics.open_topics(cluster.link("gone"))
    place = next(iter(piece.ranges))
    piece.ranges[place].end_offset = 1_000
    del producer, cluster.producer
    with pytest.raises(SourceError, match=r"kafka://.*/gone"):
        piece.read_sample()


class Registry:
    """A schema registry."""

    def __init__(self, secured: ssl.SSLContext | None = None) -> None:
        self.avro = {
            "type": "record",
            "name": "Placed",
            "fields": [
                {"name": "n", "type": "long"},
                {
                    "name": "price",
                    "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
                },
            ],
        }
        answers = {
            "/schemas/ids/1": {"schema": json.dumps(self.avro)},
            "/schemas/ids/2": {"schemaType": "JSON", "schema": "{}"},
            "/schemas/ids/3": {"schemaType": "PROTOBUF", "schema": "syntax = 'proto3';"},
            "/schemas/ids/3?format=serialized": {
                "schema": base64.b64encode(protobuf_messages.PLACED.SerializeToString()).decode(),
                "references": [{"name": "shop/money.proto", "subject": "money", "version": 2}],
            },
            "/subjects/money/versions/2?format=serialized": {
                "schema": base64.b64encode(protobuf_messages.MONEY.SerializeToString()).decode()
            },
            "/schemas/ids/4": {"schemaType": "PROTOBUF", "schema": "syntax = 'proto3';"},
            "/schemas/ids/4?format=serialized": {"schema": "syntax = 'proto3';"},
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers.get(self.path)
                body = json.dumps(found or {"error_code": 40403}).encode()
                self.send_response(200 if found else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Drop the server's log messages."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if secured is not None:
            self.server.socket = secured.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        scheme = "http" if secured is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}"


def framed(number: int, payload: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + payload


def test_schemas_of_a_registry(desk: Any, mock: Cluster) -> None:
    import io
    from decimal import Decimal

    registry = Registry()
    out = io.BytesIO()
    fastavro.schemaless_writer(out, registry.avro, {"n": 7, "price": Decimal("0.10")})
    mock.write(
        "schemas",
        {"value": framed(1, out.getvalue())},
        {"value": framed(2, b'{"n":8}')},
        {"value": framed(1, b"\x02")},
        {"value": framed(4, b"\x00\x08\x01")},
        {"value": b'{"n":9}'},
        {"value": framed(3, b"\x00" + protobuf_messages.placed(7, 10))},
        {"value": framed(3, b"\x02\x02" + protobuf_messages.placed(8, 20))},
        {"value": framed(3, b"\x04\x02\x00" + protobuf_messages.line("honey"))},
        {"value": framed(3, b"\x00" + b"\xff\xff")},
        {"value": framed(3, b"\x08")},
    )
    loaded = desk.load(mock.link("schemas", registry=registry.url))
    found = desk.column("data")
    assert found[:2] == ['{"n":7,"price":"0.10"}', '{"n":8}']
    assert found[4] == '{"n":9}'
    assert [json.loads(text) for text in found[5:8]] == [
        {"order_id": "7", "total": {"cents": 10}, "time": "2026-01-02T03:04:05Z"},
        {"order_id": "8", "total": {"cents": 20}, "time": "2026-01-02T03:04:05Z"},
        {"name": "honey"},
    ]
    # A payload that can't be decoded keeps its bytes and is counted.
    assert all(text.startswith('"') for text in (*found[2:4], *found[8:]))
    assert loaded.undecoded_count == 4
    mock.write("unknown", {"value": framed(99, b"x")})
    with pytest.raises(SourceError, match=r"schema registry can't provide /schemas/ids/99"):
        desk.load(mock.link("unknown", registry=registry.url), replace=True)
    registry.server.shutdown()


partitions = st.lists(st.lists(st.integers(-5, 20), max_size=12), min_size=1, max_size=4)


def test_registry_over_tls_with_a_login(desk: Any, mock: Cluster, tmp_path: Path) -> None:
    servers.certificates(tmp_path)
    secured = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    secured.load_cert_chain(tmp_path / "server.pem")
    secured.verify_mode = ssl.CERT_REQUIRED
    registry = Registry(secured)
    mock.write("asked", {"value": framed(2, b'{"n":8}')})
    said = (
        f"schema.registry.url={registry.url}\nschema.registry.ssl.ca.location={tmp_path}/ca.pem\n"
        f"schema.registry.ssl.certificate.location={tmp_path}/client.pem\n"
    )
    config = desk.write(said, "client.properties")
    desk.load(mock.link("asked", config=config))
    assert desk.column("data") == ['{"n":8}']
    config.write_text(said.replace("client.pem", "nobody.pem"))
    with pytest.raises(SourceError, match="The registry's certificates can't be read"):
        desk.load(mock.link("asked", config=config), replace=True)
    config.write_text(f"schema.registry.url={registry.url}\n")
    with pytest.raises(SourceError, match="schema registry can't provide"):
        desk.load(mock.link("asked", config=config), replace=True)
    registry.server.shutdown()


@settings(max_examples=examples(200), deadline=None)
@given(partitions, st.randoms(use_true_random=False))
def test_merge_does_not_depend_on_the_arrival_of_batches(
    times: list[list[int]], random: Any
) -> None:
    def merged() -> list[tuple[int, int]]:
        merge, out = PartitionMerge(len(times)), []
        left = [list(enumerate(one)) for one in times]
        open_ = set(range(len(times)))
        while open_:
            rows = []
            for place in sorted(open_):
                taken = random.randint(0, 3)
                rows += [(place, at, n) for n, at in left[place][:taken]]
                left[place] = left[place][taken:]
                if not left[place] and random.random() < 0.5:
                    open_.discard(place)
                    merge.end_partition(place)
            if rows:
                batch = pa.RecordBatch.from_pydict(
                    {
                        "timestamp": pa.array([r[1] for r in rows], pa.int64()),
                        "p": [r[0] for r in rows],
                        "n": [r[2] for r in rows],
                    }
                )
                merge.add_records(batch, np.array([r[0] for r in rows]))
            for batch in merge.take_ready():
                out += list(zip(batch["p"].to_pylist(), batch["n"].to_pylist(), strict=True))
        return out

    first, second = merged(), merged()
    assert first == second
    assert len(first) == sum(map(len, times))
    for place in range(len(times)):
        own = [n for p, n in first if p == place]
        assert own == sorted(own)
    if all(one == sorted(one) for one in times):
        order = [times[p][n] for p, n in first]
        assert order == sorted(order)


# What only a real broker does


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Broker]:
    with servers.kafka(tmp_path_factory.mktemp("kafka")) as found:
        yield found


@pytest.fixture
def cluster(broker: servers.Broker) -> Cluster:
    return Cluster(broker.plain, Producer({"bootstrap.servers": broker.plain, "log_level": 0}))


def topic(cluster: Cluster, name: str, count: int = 1, **config: Any) -> str:
    admin = AdminClient({"bootstrap.servers": cluster.servers, "log_level": 0})
    said = {key: str(value) for key, value in config.items()}
    for made in admin.create_topics([NewTopic(name, count, 1, config=said)]).values():
        made.result(20)
    return name


@servers.needs_kafka
def test_a_real_topic(desk: Any, cluster: Cluster) -> None:
    topic(cluster, "real", 3)
    cluster.write("real", *(created("r", n, partition=n % 3) for n in range(60)))
    link = cluster.link("real")
    assert desk.load(link).appended == 60
    assert [json.loads(text)["n"] for text in desk.column("data")] == list(range(60))
    assert desk.load(link).appended == 0
    cluster.write("real", *(created("r", n, partition=n % 3) for n in range(60, 65)))
    assert desk.load(link).appended == 5


@servers.needs_kafka
def test_it_leaves_no_trace(desk: Any, cluster: Cluster) -> None:
    topic(cluster, "traceless")
    cluster.write("traceless", created("t", 1))
    desk.load(cluster.link("traceless"))
    admin = AdminClient({"bootstrap.servers": cluster.servers, "log_level": 0})
    groups = admin.list_consumer_groups(request_timeout=20).result()
    assert [group.group_id for group in groups.valid] == []


@servers.needs_kafka
def test_only_what_was_committed_is_read(desk: Any, cluster: Cluster) -> None:
    topic(cluster, "transactional")
    writer = Producer(
        {"bootstrap.servers": cluster.servers, "transactional.id": "t", "log_level": 0}
    )
    writer.init_transactions(20)
    for n, commit in enumerate([True, False, True]):
        writer.begin_transaction()
        writer.produce("transactional", json.dumps({"n": n}), key="k")
        if commit:
            writer.commit_transaction(20)
        else:
            writer.flush(20)
            writer.abort_transaction(20)
    link = cluster.link("transactional")
    desk.load(link)
    assert [json.loads(text)["n"] for text in desk.column("data")] == [0, 2]
    assert desk.load(link).appended == 0


@servers.needs_kafka
def test_a_compacted_topic(desk: Any, cluster: Cluster) -> None:
    said = {"cleanup.policy": "compact", "segment.ms": 100, "min.cleanable.dirty.ratio": 0.01}
    topic(cluster, "compacted", **said)
    for n in range(20):
        cluster.write("compacted", {"value": {"n": n}, "key": f"k{n % 2}", "at": n})
    time.sleep(0.3)
    cluster.write("compacted", {"value": {"n": 99}, "key": "last", "at": 99})
    desk.load(cluster.link("compacted"))
    numbers = [json.loads(text)["n"] for text in desk.column("data")]
    assert numbers[-1] == 99
    assert {18, 19} <= set(numbers)


@servers.needs_kafka
def test_records_removed_by_retention_are_a_reject(desk: Any, cluster: Cluster) -> None:
    topic(cluster, "forgotten")
    cluster.write("forgotten", *(created("f", n) for n in range(4)))
    desk.load(cluster.link("forgotten"))
    cluster.write("forgotten", *(created("f", n) for n in range(4, 10)))
    admin = AdminClient({"bootstrap.servers": cluster.servers, "log_level": 0})
    for done in admin.delete_records([TopicPartition("forgotten", 0, 7)]).values():
        done.result(20)
    assert desk.load(cluster.link("forgotten")).appended == 3
    assert [reason for _, reason, _ in desk.rejects()] == [
        "forgotten/0: 4 to 6 were removed before they were read"
    ]


@servers.needs_kafka
def test_by_time(desk: Any, cluster: Cluster) -> None:
    topic(cluster, "timed")
    cluster.write("timed", *(created("t", n) for n in range(10)))
    desk.load(cluster.link("timed", from_="2026-01-03T12:00:03", to="2026-01-03T12:00:06Z"))
    assert [json.loads(text)["n"] for text in desk.column("data")] == [3, 4, 5]


@servers.needs_kafka
def test_a_topic_that_is_not_there(desk: Any, cluster: Cluster) -> None:
    topic(cluster, "there")
    with pytest.raises(SourceError, match=r"there is no topic elsewhere; topics: .*there"):
        desk.load(cluster.link("elsewhere"))
    with pytest.raises(SourceError, match=r"kafka://.*/there has no records"):
        desk.load(cluster.link("there"))


@servers.needs_kafka
def test_a_login(
    desk: Any, cluster: Cluster, broker: servers.Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic(cluster, "guarded")
    cluster.write("guarded", created("g", 1))
    config = desk.write(
        "# as for any client\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
        "sasl.username=reader\nsasl.password=${REFOLD_TEST_PASSWORD}\n",
        "client.properties",
    )
    link = f"kafka://{broker.login}/guarded?config={config}"
    monkeypatch.setenv("REFOLD_TEST_PASSWORD", "s3cretword")
    desk.load(link)
    assert desk.column("stream") == ["g-1"]
    assert "s3cretword" not in str(desk.ask("SELECT * FROM sources"))
    monkeypatch.setenv("REFOLD_TEST_PASSWORD", "wrong")
    with pytest.raises(SourceError, match="refuses the login"):
        desk.load(link, replace=True)


@servers.needs_kafka
@pytest.mark.parametrize(
    ("place", "config"),
    [
        (
            "tls",
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nssl.ca.location={certificates}/ca.pem\n"
            "sasl.username=reader\nsasl.password=s3cretword\n",
        ),
        (
            "tls",
            "# for Java's client\nsecurity.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
            "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n"
            '  username="reader" password="s3cretword";\n'
            "ssl.truststore.type=PEM\nssl.truststore.location={certificates}/ca.pem\n"
            "key.deserializer=org.apache.kafka.common.serialization.StringDeserializer\n",
        ),
        (
            "own",
            "security.protocol=SSL\nssl.ca.location={certificates}/ca.pem\n"
            "ssl.certificate.location={certificates}/client.pem\n"
            "ssl.key.location={certificates}/client.pem\n",
        ),
        (
            "own",
            "security.protocol=SSL\nssl.truststore.location={certificates}/ca.pem\n"
            "ssl.keystore.type=PEM\nssl.keystore.location={certificates}/client.pem\n",
        ),
    ],
)
def test_a_secure_connection(
    desk: Any, cluster: Cluster, broker: servers.Broker, place: str, config: str
) -> None:
    name = f"secure-{place}-{len(config)}"
    topic(cluster, name)
    cluster.write(name, created("s", 1))
    written = desk.write(config.format(certificates=broker.certificates), "client.properties")
    desk.load(f"kafka://{getattr(broker, place)}/{name}?config={written}")
    assert desk.column("stream") == ["s-1"]


@servers.needs_kafka
def test_broker_with_an_untrusted_certificate_is_refused(desk: Any, broker: servers.Broker) -> None:
    config = desk.write(
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
        "sasl.username=reader\nsasl.password=s3cretword\n",
        "client.properties",
    )
    with pytest.raises(SourceError, match="no secure connection to the broker"):
        desk.load(f"kafka://{broker.tls}/anything?config={config}")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (
            {"sasl.jaas.config": 'a.b.ScramLoginModule required username=\'u\' password="p\\"q;";'},
            {"sasl.username": "u", "sasl.password": 'p"q;'},
        ),
        (
            {"sasl.jaas.config": "Krb5LoginModule required;"},
            "names Krb5LoginModule, but refold translates only logins",
        ),
        ({"sasl.jaas.config": "PlainLoginModule required username=u;"}, "has no password"),
        ({"sasl.jaas.config": ""}, "names nothing"),
        ({"ssl.truststore.location": "t.jks"}, "truststore t.jks must be a PEM file"),
        ({"ssl.keystore.location": "k.jks"}, "keystore k.jks must be a PEM or PKCS12 file"),
        (
            {"ssl.keystore.location": "k.p12", "ssl.keystore.password": "x"},
            {"ssl.keystore.location": "k.p12", "ssl.keystore.password": "x"},
        ),
        (
            {"ssl.endpoint.identification.algorithm": "", "ssl.protocol": "TLSv1.3"},
            {"ssl.endpoint.identification.algorithm": "none"},
        ),
        (
            {"basic.auth.credentials.source": "USER_INFO", "basic.auth.user.info": "a:b"},
            {"schema.registry.basic.auth.user.info": "a:b"},
        ),
    ],
)
def test_settings_of_javas_client(said: dict[str, str], found: Any) -> None:
    if isinstance(found, dict):
        assert to_librdkafka_settings(said, Path("c")) == found
    else:
        with pytest.raises(SourceError, match=found):
            to_librdkafka_settings(said, Path("c"))


def test_continued_lines_of_a_configuration(
    desk: Any, mock: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    mock.write("lines", created("l", 1))
    config = desk.write(
        "# no setting \\\nclient.id=refold's \\\n  own\nsasl.password=ends with\\\n", "c.properties"
    )
    said = settings_of(uris.parse_uri(mock.link("lines", config=config), URI_OPTIONS))
    assert said["client.id"] == "refold's own"
    assert said["sasl.password"] == "ends with\\"
