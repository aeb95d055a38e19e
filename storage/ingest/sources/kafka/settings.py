"""How a client reaches Kafka: a link, and the configuration file that people have for any client.

What a value takes from the environment (`sasl.password=${KAFKA_PASSWORD}`) is kept nowhere. Nothing that would
leave a trace in the cluster can be switched on.
"""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from storage.errors import SourceError
from storage.ingest.sources.kafka.java_properties import in_words_of_librdkafka
from storage.ingest.sources.uris import Link

_FROM_ENVIRONMENT = re.compile(r"\$\{(?:env:)?(\w+)\}")
_OURS = ("group.id", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof")
_REGISTRY = "schema.registry."
_COMMENT = ("#", "!")


def read(link: Link) -> dict[str, str]:
    """The settings of a link, those of the registry included.

    Raises `SourceError` where the file can't be read, or asks for what isn't in the environment.
    """
    said: dict[str, str] = {}
    if "config" in link.wishes:
        said = _file(Path(link.wishes["config"]).expanduser())
    parts = urlsplit(link.place)
    if parts.username:
        said |= {"sasl.username": parts.username, "sasl.password": parts.password or ""}
    servers = parts.netloc.rpartition("@")[2]
    if servers:
        said["bootstrap.servers"] = servers
    if "registry" in link.wishes:
        said[_REGISTRY + "url"] = link.wishes["registry"]
    if not said.get("bootstrap.servers"):
        raise SourceError(f"{link.public} names no broker; write kafka://HOST:PORT/TOPIC.")
    return said


def of_registry(said: dict[str, str]) -> dict[str, str]:
    """The settings of the schema registry; empty where there is none."""
    found = {k.removeprefix(_REGISTRY): v for k, v in said.items() if k.startswith(_REGISTRY)}
    return found if "url" in found else {}


def of_consumer(said: dict[str, str]) -> dict[str, str | int | bool]:
    """The settings of a consumer that belongs to no group and commits nothing."""
    theirs = {k: v for k, v in said.items() if not k.startswith(_REGISTRY) and k not in _OURS}
    return {
        "isolation.level": "read_committed",
        "fetch.message.max.bytes": 4 << 20,
        "queued.min.messages": 200_000,
        # A full queue is asked again soon, not only after a second.
        "fetch.queue.backoff.ms": 5,
        "socket.connection.setup.timeout.ms": 10_000,
        **theirs,
        # A client needs a name of a group, also where it joins none.
        "group.id": f"refold-{secrets.token_hex(8)}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "allow.auto.create.topics": False,
        "log_level": 0,
    }


def _file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error
    said: dict[str, str] = {}
    for line in _whole(lines):
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(_COMMENT):
            said[name.strip()] = _FROM_ENVIRONMENT.sub(_taken, value.strip())
    return in_words_of_librdkafka(said, path)


def _whole(lines: list[str]) -> Iterator[str]:
    """Lines with those that continue them, as a backslash behind a blank says.

    One that follows anything else may be the end of a password.
    """
    begun = ""
    for line in lines:
        if line.endswith((" \\", "\t\\")) and not line.lstrip().startswith(_COMMENT):
            begun += line[:-1]
        else:
            yield begun + (line.lstrip() if begun else line)
            begun = ""
    if begun:
        yield begun


def _taken(found: re.Match[str]) -> str:
    if found[1] not in os.environ:
        raise SourceError(f"The configuration asks for {found[1]}, which isn't in the environment.")
    return os.environ[found[1]]
