"""Values that never reach the workspace: in their place stand keyed hashes, from the load on; and values
that are taken out of it later.

A path begins with an event's field: `data.email`, `data.lines.*.card`, `meta.user`, `stream`. Lists are looked
through. What can't be told apart is left out rather than kept: the text of rejects, and records in another
format than the rest. Lines that SQL can't read wait for their second look encrypted, as a file keeps what was
overwritten in it.
"""

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.io import keyed_hash, raw_json
from storage.ingest.mapping import PAYLOADS

SCALARS = ("stream", "type", "id", "correlation_id", "causation_id")
_NONCE = 16

Steps = tuple[str, ...]


class Redaction:
    """What is redacted of each field."""

    _OPTION: ClassVar[str] = "--redact"
    _FIELDS: ClassVar[Sequence[str]] = (*PAYLOADS, *SCALARS)

    def __init__(
        self, paths: Sequence[str], key: bytes | None = None, met: set[str] | None = None
    ) -> None:
        """Raises `SourceError` for a path that begins with no field that can be redacted.

        Every value that is met is added to `met`, those inside of objects and lists one by one.
        """
        self.fields: dict[str, list[Steps]] = {}
        self._met = met
        self._count = 0
        """How many values were redacted; what has none stays as it is written."""
        for path in paths:
            field, *steps = path.split(".")
            if field not in self._FIELDS or (steps and field in SCALARS) or "" in steps:
                raise SourceError(
                    f"{self._OPTION} {path}: a path begins with {', '.join(self._FIELDS)},"
                    " as data.email."
                )
            self.fields.setdefault(field, []).append(tuple(steps))
        self._key = (keyed_hash.user_key() if key is None else key) if paths else b""
        self._cover = os.urandom(32)

    def __bool__(self) -> bool:
        return bool(self.fields)

    def row(self, row: Mapping[str, str | None]) -> dict[str, str | None]:
        """The fields of an event, redacted."""
        return {name: self.value(name, text) for name, text in row.items()}

    def value(self, field: str, text: str | None) -> str | None:
        """The text of a field, redacted; of a payload, its JSON."""
        paths = self.fields.get(field)
        if paths is None or text is None:
            return text
        if field in SCALARS:
            self._meet(text)
            return keyed_hash.placeholder(self._key, text)
        before = self._count
        try:
            redacted = self._redacted(text.encode(), paths).decode()
            return redacted if self._count > before else text
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            self._meet(text)
            return self._stand_in(text).decode()

    def column(self, field: str, texts: pa.ChunkedArray) -> pa.Array:
        """The same for a column."""
        return pa.array([self.value(field, text) for text in texts.to_pylist()], pa.string())

    def _redacted(self, raw: bytes, paths: Sequence[Steps]) -> bytes:
        if () in paths:
            return self._replaced(raw)
        first = raw.lstrip()[:1]
        if first == b"{":
            members = []
            for name, value in raw_json.members(raw).items():
                inner = [path[1:] for path in paths if path[0] in (name, "*")]
                kept = self._redacted(bytes(value), inner) if inner else bytes(value)
                members.append(msgspec.json.encode(name) + b":" + kept)
            return b"{" + b",".join(members) + b"}"
        if first == b"[":
            inside = [*paths, *(path[1:] for path in paths if path[0] == "*")]
            items = [self._redacted(bytes(item), inside) for item in raw_json.items(raw)]
            return b"[" + b",".join(items) + b"]"
        return raw

    def _replaced(self, raw: bytes) -> bytes:
        if raw.strip() == b"null":
            return raw
        self._count += 1
        text = raw.decode()
        said = str(msgspec.json.decode(text)) if text.startswith('"') else text
        if self._met is not None:
            for value in _leaves(msgspec.json.decode(text)):
                self._meet(value)
        return self._stand_in(said)

    def _stand_in(self, said: str) -> bytes:
        """What stands in a value's place, as JSON."""
        return msgspec.json.encode(keyed_hash.placeholder(self._key, said))

    def _meet(self, said: str) -> None:
        if self._met is not None:
            self._met.add(said)

    # Lines that wait

    def covered(self, texts: pa.ChunkedArray) -> pa.Array:
        """Lines as nobody but this process can read them."""
        return pa.array(
            [None if text is None else self._cover_text(text) for text in texts.to_pylist()],
            pa.string(),
        )

    def uncovered(self, text: str) -> str:
        """The line again."""
        packed = base64.b85decode(text)
        return _mixed(self._cover, packed[:_NONCE], packed[_NONCE:]).decode()

    def _cover_text(self, text: str) -> str:
        nonce = os.urandom(_NONCE)
        return base64.b85encode(nonce + _mixed(self._cover, nonce, text.encode())).decode()


class Removal(Redaction):
    """Values that are taken away: null stands in their place."""

    _OPTION = "--value"
    _FIELDS = PAYLOADS

    def _stand_in(self, said: str) -> bytes:  # noqa: ARG002 - whatever it was
        return b"null"


def _leaves(value: Any) -> Iterator[str]:
    """The texts and numbers in a value."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inside:
        yield from _leaves(one)
    if not isinstance(value, (dict, list, bool, type(None))):
        yield str(value)


def _mixed(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Data under a stream of bytes that only the key gives; twice, it is the data again."""
    stream = hashlib.shake_256(key + nonce).digest(len(data))
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
    return mixed.to_bytes(len(data), "big")
