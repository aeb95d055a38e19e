"""Servers that tests start in a folder; they listen only on a socket there or on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

POSTGRES = shutil.which("postgres") or next(
    (str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None
)
needs_postgres = pytest.mark.external("PostgreSQL is not installed", POSTGRES is not None)


@contextmanager
def postgres(outer: Path) -> Iterator[str]:
    """Start a PostgreSQL server on a socket in a folder; yield its connection URL."""
    import psycopg

    assert POSTGRES is not None
    folder = outer / "pg"
    bin_ = Path(os.path.realpath(POSTGRES)).parent
    run: dict[str, Any] = {}
    folder.mkdir()
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        for place in (outer, *outer.parents[:3]):
            place.chmod(place.stat().st_mode | 0o011)
        run = {"user": "nobody"}
        shutil.chown(folder, "nobody")
    made = [bin_ / "initdb", "-D", folder / "data", "-A", "trust", "-U", "refold", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, cwd=folder, **run)
    server = subprocess.Popen(
        [POSTGRES, "-D", folder / "data", "-k", str(folder), "-h", ""],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **run,
    )
    url = f"postgresql://refold@/postgres?host={folder}"
    deadline = time.monotonic() + 30
    try:
        while True:
            try:
                psycopg.connect(url).close()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)


KAFKA = os.environ.get("REFOLD_TEST_KAFKA", "")
"""The folder with Apache Kafka's jars."""
needs_kafka = pytest.mark.external(
    "Apache Kafka is not installed (REFOLD_TEST_KAFKA names the folder of its jars)",
    bool(KAFKA and Path(KAFKA).is_dir() and shutil.which("java")),
)
_SERVER = """
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{broker},SASL://127.0.0.1:{login},TLS://127.0.0.1:{tls},\
 OWN://127.0.0.1:{own},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker},SASL://127.0.0.1:{login},TLS://127.0.0.1:{tls},\
 OWN://127.0.0.1:{own}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SASL_SSL,OWN:SSL,\
 CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
 user_reader="s3cretword";
listener.name.tls.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
 user_reader="s3cretword";
listener.name.own.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
log.dirs={folder}/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.cleaner.backoff.ms=200
log.retention.ms=-1
log.initial.task.delay.ms=100
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
"""


@dataclass(frozen=True)
class Broker:
    """The addresses of a Kafka server with one node."""

    plain: str
    """HOST:PORT without a login."""
    login: str
    """HOST:PORT for `reader` with the password `s3cretword`."""
    tls: str
    """HOST:PORT with TLS for the same login; `ca.pem` in the folder signed its certificate."""
    own: str
    """HOST:PORT with TLS for clients with a certificate, such as `client.pem`, which has its key."""
    certificates: Path
    """The folder of the certificates."""


@contextmanager
def kafka(folder: Path) -> Iterator[Broker]:
    """Start a real Apache Kafka in KRaft mode on loopback; yield its addresses."""
    from confluent_kafka.admin import AdminClient

    names = ("broker", "login", "tls", "own", "controller")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    settings = folder / "server.properties"
    settings.write_text(_SERVER.format(folder=folder, **ports))
    certificates(folder)
    java = ["java", "-Xmx512m", "-cp", f"{KAFKA}/*"]
    formatted = [*java, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk"]
    subprocess.run([*formatted, "-c", settings], check=True, capture_output=True, cwd=folder)
    with (folder / "kafka.log").open("wb") as log:
        server = subprocess.Popen(
            [*java, "kafka.Kafka", settings], stdout=log, stderr=log, cwd=folder
        )
    try:
        client = AdminClient({"bootstrap.servers": f"127.0.0.1:{ports['broker']}", "log_level": 0})
        deadline = time.monotonic() + 60
        while True:
            try:
                client.list_topics(timeout=2)
                break
            except Exception:  # noqa: BLE001 - not up yet
                log_tail = (folder / "kafka.log").read_text(errors="replace")[-2000:]
                assert server.poll() is None, log_tail
                assert time.monotonic() < deadline, log_tail
        addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        yield Broker(*(addresses[name] for name in ("broker", "login", "tls", "own")), folder)
    finally:
        server.kill()
        server.wait(timeout=20)


def certificates(folder: Path) -> None:
    """Write certificates of an authority, a server at 127.0.0.1 and a client into a folder.

    The files are `ca.pem`, `server.pem` and `client.pem`; the last two contain their keys.
    """
    import trustme
    from cryptography.hazmat.primitives import serialization

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, issued in (
        ("server", authority.issue_cert("127.0.0.1")),
        ("client", authority.issue_cert("reader@shop.example")),
    ):
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        plain = key.private_bytes(  # the format that Java reads
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        (folder / f"{name}.pem").write_bytes(plain + chain)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that are free."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
