"""Settings of the Kafka client, from a link and from a configuration file as people use it for any client.

Values from the environment (`sasl.password=${KAFKA_PASSWORD}`) are never stored. Settings that would leave a
trace in the cluster can't be changed.
"""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from storage.errors import SourceError
from storage.ingest.sources.kafka.java_properties import to_librdkafka_settings
from storage.ingest.sources.uris import SourceUri

_FROM_ENVIRONMENT = re.compile(r"\$\{(?:env:)?(\w+)\}")
_FIXED_SETTINGS = (
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
)
_REGISTRY_PREFIX = "schema.registry."
_COMMENT_MARKS = ("#", "!")


def read_settings(link: SourceUri) -> dict[str, str]:
    """Return the settings of a link, including those of the schema registry.

    Raises `SourceError` if the file can't be read, names a missing environment variable, or if there is
    no broker.
    """
    found: dict[str, str] = {}
    if "config" in link.options:
        found = _read_properties(Path(link.options["config"]).expanduser())
    parts = urlsplit(link.target)
    if parts.username:
        found |= {"sasl.username": parts.username, "sasl.password": parts.password or ""}
    servers = parts.netloc.rpartition("@")[2]
    if servers:
        found["bootstrap.servers"] = servers
    if "registry" in link.options:
        found[_REGISTRY_PREFIX + "url"] = link.options["registry"]
    if not found.get("bootstrap.servers"):
        raise SourceError(f"{link.public_uri} names no broker; write kafka://HOST:PORT/TOPIC.")
    return found


def registry_settings(client_settings: dict[str, str]) -> dict[str, str]:
    """Return the settings of the schema registry, empty if there is none."""
    found = {
        k.removeprefix(_REGISTRY_PREFIX): v
        for k, v in client_settings.items()
        if k.startswith(_REGISTRY_PREFIX)
    }
    return found if "url" in found else {}


def consumer_settings(client_settings: dict[str, str]) -> dict[str, str | int | bool]:
    """Return the settings of a consumer that joins no group and commits nothing."""
    given = {
        k: v
        for k, v in client_settings.items()
        if not k.startswith(_REGISTRY_PREFIX) and k not in _FIXED_SETTINGS
    }
    return {
        "isolation.level": "read_committed",
        "fetch.message.max.bytes": 4 << 20,
        "queued.min.messages": 200_000,
        # Continue fetching 5 ms after the queue was full; librdkafka's default is a second.
        "fetch.queue.backoff.ms": 5,
        "socket.connection.setup.timeout.ms": 10_000,
        **given,
        # The client requires a group id even if it joins no group.
        "group.id": f"refold-{secrets.token_hex(8)}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "allow.auto.create.topics": False,
        "log_level": 0,
    }


def _read_properties(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error
    found: dict[str, str] = {}
    for line in _join_continued_lines(lines):
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(_COMMENT_MARKS):
            found[name.strip()] = _FROM_ENVIRONMENT.sub(_environment_value, value.strip())
    return to_librdkafka_settings(found, path)


def _join_continued_lines(lines: list[str]) -> Iterator[str]:
    """Yield the lines, joined with the next one if they end in a blank and a backslash.

    A backslash without a blank before it may be the end of a password.
    """
    unfinished = ""
    for line in lines:
        if line.endswith((" \\", "\t\\")) and not line.lstrip().startswith(_COMMENT_MARKS):
            unfinished += line[:-1]
        else:
            yield unfinished + (line.lstrip() if unfinished else line)
            unfinished = ""
    if unfinished:
        yield unfinished


def _environment_value(reference: re.Match[str]) -> str:
    if reference[1] not in os.environ:
        raise SourceError(
            f"The configuration uses the environment variable {reference[1]}, which isn't set; set it."
        )
    return os.environ[reference[1]]
