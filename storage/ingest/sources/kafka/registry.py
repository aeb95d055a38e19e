"""Payloads that name a schema of a registry: Avro, JSON Schema and Protobuf become JSON.

The wire format is Confluent's: a zero byte, four bytes of the schema's number, the payload. What can't be
decoded stays the bytes that it is.
"""

import base64
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import fastavro
import httpx
import msgspec

from storage.errors import SourceError, one_line
from storage.ingest.io import avro_payload

_MAGIC = 0
_HEAD = 5


class Registry:
    """A schema registry, asked once for each schema."""

    def __init__(self, settings: dict[str, str]) -> None:
        auth = settings.get("basic.auth.user.info", "").partition(":")
        self._client = httpx.Client(
            base_url=settings["url"],
            auth=(auth[0], auth[2]) if auth[0] else None,
            timeout=10,
            verify=_trusted(settings),
        )
        self._decoders: dict[int, Callable[[bytes], bytes] | None] = {}
        self.undecoded = 0
        """Payloads that were left as they are, though they name a schema."""

    def decoded(self, payloads: Sequence[bytes | None]) -> list[bytes | None]:
        """The same payloads, those with a schema as JSON.

        Raises `SourceError` where the registry isn't there, or lacks a schema.
        """
        return [
            payload
            if payload is None or len(payload) < _HEAD or payload[0] != _MAGIC
            else self._decode(payload)
            for payload in payloads
        ]

    def close(self) -> None:
        self._client.close()

    def _decode(self, payload: bytes) -> bytes:
        number = int.from_bytes(payload[1:_HEAD], "big")
        if number not in self._decoders:
            self._decoders[number] = self._decoder(number)
        decoder = self._decoders[number]
        try:
            if decoder is not None:
                return decoder(payload[_HEAD:])
        except Exception:  # noqa: BLE001, S110 - whatever the bytes are, the load goes on
            pass
        self.undecoded += 1
        return payload

    def _decoder(self, number: int) -> Callable[[bytes], bytes] | None:
        said = self._schema(number)
        kind = said.get("schemaType", "AVRO")
        if kind == "JSON":
            return bytes
        if kind == "PROTOBUF":
            return self._protobuf(number)
        if kind != "AVRO":
            return None
        named: dict[str, Any] = {}
        for reference in said.get("references", ()):
            path = f"/subjects/{reference['subject']}/versions/{reference['version']}"
            fastavro.parse_schema(msgspec.json.decode(self._ask(path)["schema"]), named)
        schema = fastavro.parse_schema(msgspec.json.decode(said["schema"]), named)
        read = avro_payload.reader_of(schema, named)

        def decode(payload: bytes) -> bytes:
            return msgspec.json.encode(read(payload), enc_hook=_shown)

        return decode

    def _protobuf(self, number: int) -> Callable[[bytes], bytes] | None:
        """By the compiled descriptor, for which a registry is asked in place of the text."""
        from storage.ingest.io import protobuf  # noqa: PLC0415 - it takes its time to import

        said = self._ask(f"/schemas/ids/{number}?format=serialized")
        files: dict[str, Any] = {}
        try:
            own = protobuf.file_of(base64.b64decode(said["schema"], validate=True))
            self._referred(said, files)
            messages = protobuf.Messages([*files.values(), own])
        except (ValueError, KeyError, TypeError):
            return None  # a registry that has the text only
        known: dict[tuple[int, ...], protobuf.Decode] = {}

        def decode(payload: bytes) -> bytes:
            place, message = protobuf.place(payload)
            if place not in known:
                known[place] = messages.at(own.name, place)
            return msgspec.json.encode(known[place](message), enc_hook=_shown)

        return decode

    def _referred(self, said: dict[str, Any], files: dict[str, Any]) -> None:
        """The files that a schema imports, under the names by which it does."""
        from storage.ingest.io import protobuf  # noqa: PLC0415 - as above

        for reference in said.get("references", ()):
            if reference["name"] in files:
                continue
            path = f"/subjects/{reference['subject']}/versions/{reference['version']}"
            found = self._ask(f"{path}?format=serialized")
            file = protobuf.file_of(base64.b64decode(found["schema"], validate=True))
            file.name = reference["name"]
            files[file.name] = file
            self._referred(found, files)

    def _schema(self, number: int) -> dict[str, Any]:
        return self._ask(f"/schemas/ids/{number}")

    def _ask(self, path: str) -> dict[str, Any]:
        try:
            answer = self._client.get(path)
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise SourceError(
                f"The schema registry has no answer to {path} ({one_line(error)})."
            ) from error
        if not isinstance(found, dict):
            raise SourceError(f"The schema registry's answer to {path} is no schema.")
        return found


def _shown(value: Any) -> Any:
    return str(value)


def _trusted(settings: dict[str, str]) -> ssl.SSLContext:
    """Whom the registry's client believes, and what it shows of itself; raises `SourceError`."""
    try:
        context = ssl.create_default_context(cafile=settings.get("ssl.ca.location"))
        if "ssl.certificate.location" in settings:
            context.load_cert_chain(
                settings["ssl.certificate.location"],
                settings.get("ssl.key.location"),
                settings.get("ssl.key.password", ""),
            )
    except OSError as error:
        raise SourceError(
            f"The registry's certificates can't be read ({one_line(error)}); see schema.registry.ssl.…"
            " in the configuration."
        ) from error
    return context
