"""Decodes payloads with a schema registry: Avro, JSON Schema and Protobuf become JSON.

The wire format is Confluent's: a zero byte, four bytes with the schema's number, the payload. A payload
that can't be decoded keeps its bytes.
"""

import base64
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import fastavro
import httpx
import msgspec

from storage.errors import SourceError, summarize_error
from storage.ingest.io import avro_payload

_MAGIC_BYTE = 0
_HEADER_BYTES = 5


class SchemaRegistry:
    """A client of a schema registry that requests each schema once."""

    def __init__(self, settings: dict[str, str]) -> None:
        auth = settings.get("basic.auth.user.info", "").partition(":")
        self._client = httpx.Client(
            base_url=settings["url"],
            auth=(auth[0], auth[2]) if auth[0] else None,
            timeout=10,
            verify=_make_ssl_context(settings),
        )
        self._decoders: dict[int, Callable[[bytes], bytes] | None] = {}
        self.undecoded_count = 0
        """The number of payloads that name a schema but could not be decoded."""

    def decode_payloads(self, payloads: Sequence[bytes | None]) -> list[bytes | None]:
        """Return the payloads in order, those with a schema as JSON.

        Raises `SourceError` if the registry doesn't answer or lacks a schema.
        """
        return [
            payload
            if payload is None or len(payload) < _HEADER_BYTES or payload[0] != _MAGIC_BYTE
            else self._decode_payload(payload)
            for payload in payloads
        ]

    def close(self) -> None:
        self._client.close()

    def _decode_payload(self, payload: bytes) -> bytes:
        number = int.from_bytes(payload[1:_HEADER_BYTES], "big")
        if number not in self._decoders:
            self._decoders[number] = self._make_decoder(number)
        decoder = self._decoders[number]
        try:
            if decoder is not None:
                return decoder(payload[_HEADER_BYTES:])
        except Exception:  # noqa: BLE001, S110 - no payload may end the load
            pass
        self.undecoded_count += 1
        return payload

    def _make_decoder(self, number: int) -> Callable[[bytes], bytes] | None:
        stored = self._read_schema(number)
        kind = stored.get("schemaType", "AVRO")
        if kind == "JSON":
            return bytes
        if kind == "PROTOBUF":
            return self._make_protobuf_decoder(number)
        if kind != "AVRO":
            return None
        named: dict[str, Any] = {}
        for reference in stored.get("references", ()):
            path = f"/subjects/{reference['subject']}/versions/{reference['version']}"
            fastavro.parse_schema(msgspec.json.decode(self._get_json(path)["schema"]), named)
        schema = fastavro.parse_schema(msgspec.json.decode(stored["schema"]), named)
        read = avro_payload.reader_of(schema, named)

        def decode(payload: bytes) -> bytes:
            return msgspec.json.encode(read(payload), enc_hook=_encode_unknown)

        return decode

    def _make_protobuf_decoder(self, number: int) -> Callable[[bytes], bytes] | None:
        """Return a decoder from the compiled descriptor, or None if the registry has only the schema's text."""
        from storage.ingest.io import protobuf  # noqa: PLC0415 - slow to import

        stored = self._get_json(f"/schemas/ids/{number}?format=serialized")
        files: dict[str, Any] = {}
        try:
            descriptor = protobuf.read_file_descriptor(
                base64.b64decode(stored["schema"], validate=True)
            )
            self._read_imports(stored, files)
            messages = protobuf.MessageTypes([*files.values(), descriptor])
        except (ValueError, KeyError, TypeError):
            return None  # this registry has only the text
        decoder_by_index: dict[tuple[int, ...], protobuf.MessageDecoder] = {}

        def decode(payload: bytes) -> bytes:
            index, message = protobuf.split_message_index(payload)
            if index not in decoder_by_index:
                decoder_by_index[index] = messages.decoder_by_index(descriptor.name, index)
            return msgspec.json.encode(decoder_by_index[index](message), enc_hook=_encode_unknown)

        return decode

    def _read_imports(self, stored: dict[str, Any], files: dict[str, Any]) -> None:
        """Add the files that a schema imports to `files`, by the names in its imports."""
        from storage.ingest.io import protobuf  # noqa: PLC0415 - slow to import, and JSON schemas don't need it

        for reference in stored.get("references", ()):
            if reference["name"] in files:
                continue
            path = f"/subjects/{reference['subject']}/versions/{reference['version']}"
            found = self._get_json(f"{path}?format=serialized")
            file = protobuf.read_file_descriptor(base64.b64decode(found["schema"], validate=True))
            file.name = reference["name"]
            files[file.name] = file
            self._read_imports(found, files)

    def _read_schema(self, number: int) -> dict[str, Any]:
        return self._get_json(f"/schemas/ids/{number}")

    def _get_json(self, path: str) -> dict[str, Any]:
        try:
            answer = self._client.get(path)
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise SourceError(
                f"The schema registry can't provide {path} ({summarize_error(error)}); check"
                " schema.registry.url."
            ) from error
        if not isinstance(found, dict):
            raise SourceError(f"The schema registry's answer to {path} is not a JSON object.")
        return found


def _encode_unknown(value: Any) -> Any:
    return str(value)


def _make_ssl_context(settings: dict[str, str]) -> ssl.SSLContext:
    """Return the TLS context for the registry: trusted certificates and the client's own.

    Raises `SourceError` if a certificate can't be read.
    """
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
            f"The registry's certificates can't be read ({summarize_error(error)}); check"
            " schema.registry.ssl.… in the configuration."
        ) from error
    return context
