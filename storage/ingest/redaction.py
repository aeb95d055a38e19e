"""Redaction: replace values by keyed hashes during a load, or remove values from a workspace later.

A path begins with an event's field: `data.email`, `data.lines.*.card`, `meta.user`, `stream`. A path also
matches inside lists, inside texts that hold JSON or XML, and pairs such as {"name": "email", "value": "…"}.
If refold can't find the values to redact, it drops the whole text: the text of rejects, and records in another
format than the rest. Lines that SQL can't read are encrypted until they are repaired, because the workspace
file may retain overwritten bytes.
"""

import base64
import html
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.io import keyed_hash, raw_json
from storage.ingest.mapping import PAYLOAD_FIELDS

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

SCALAR_FIELDS = ("stream", "type", "id", "correlation_id", "causation_id")
_PAIR_NAMES = frozenset(("name", "key", "field", "header", "parameter", "property", "@name", "id"))
_PAIR_VALUES = frozenset(("value", "values", "val", "content", "#text", "text"))
_MOST_OF_PAIR = 12
"""Maximum number of members of an object that counts as a pair of a name and a value."""

PathSteps = tuple[str, ...]


class Redaction:
    """The paths to redact in each field, and the key of the hashes that replace their values."""

    _OPTION_NAME: ClassVar[str] = "--redact"
    _ALLOWED_FIELDS: ClassVar[Sequence[str]] = (*PAYLOAD_FIELDS, *SCALAR_FIELDS)

    def __init__(
        self, paths: Sequence[str], key: bytes | None = None, seen_values: set[str] | None = None
    ) -> None:
        """Parse the paths; without `key`, load the user's key or create it.

        Each redacted value is added to `seen_values`; objects and lists add their scalars one by
        one. Raises `SourceError` if a path doesn't begin with a field that can be redacted.
        """
        self.steps_by_field: dict[str, list[PathSteps]] = {}
        self._seen_values = seen_values
        self._redacted_count = 0
        """Number of values redacted; a text in which it doesn't rise is kept byte for byte."""
        for path in paths:
            field, *steps = path.split(".")
            if (
                field not in self._ALLOWED_FIELDS
                or (steps and field in SCALAR_FIELDS)
                or "" in steps
            ):
                raise SourceError(
                    f"Invalid path in {self._OPTION_NAME} {path}. Begin it with one of"
                    f" {', '.join(self._ALLOWED_FIELDS)}, such as data.email."
                )
            self.steps_by_field.setdefault(field, []).append(tuple(steps))
        self._key = (keyed_hash.load_or_create_key() if key is None else key) if paths else b""
        self._line_key = base64.urlsafe_b64encode(os.urandom(32))

    def __bool__(self) -> bool:
        return bool(self.steps_by_field)

    def redact_row(self, row: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return the fields of an event, redacted."""
        return {name: self.redact_field(name, text) for name, text in row.items()}

    def redact_field(self, field: str, text: str | None) -> str | None:
        """Return the redacted text of a field; the text of a payload is its JSON."""
        paths = self.steps_by_field.get(field)
        if paths is None or text is None:
            return text
        if field in SCALAR_FIELDS:
            self._add_seen_value(text)
            return keyed_hash.make_placeholder(self._key, text)
        before = self._redacted_count
        try:
            redacted = self._redact_json(text.encode(), paths).decode()
            return redacted if self._redacted_count > before else text
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            self._add_seen_value(text)
            return self._placeholder_json(text).decode()

    def redact_column(self, field: str, texts: pa.ChunkedArray) -> pa.Array:
        """Return a column of a field's texts, redacted."""
        return pa.array([self.redact_field(field, text) for text in texts.to_pylist()], pa.string())

    def _redact_json(self, raw: bytes, paths: Sequence[PathSteps]) -> bytes:
        if () in paths:
            return self._replace_value(raw)
        first = raw.lstrip()[:1]
        if first == b"{":
            members = []
            by_name = raw_json.parse_members(raw)
            pair = _names_path(by_name, paths)
            for name, value in by_name.items():
                inner = [path[1:] for path in paths if path[0] in (name, "*")]
                if pair and name.lower() in _PAIR_VALUES:
                    inner.append(())
                redacted = self._redact_json(bytes(value), inner) if inner else bytes(value)
                members.append(msgspec.json.encode(name) + b":" + redacted)
            return b"{" + b",".join(members) + b"}"
        if first == b"[":
            inside = [*paths, *(path[1:] for path in paths if path[0] == "*")]
            parts = [bytes(item) for item in raw_json.parse_items(raw)]
            if len(parts) == 2 and _is_named(parts[0], paths):  # ["authorization", "Bearer …"]
                return b"[" + parts[0] + b"," + self._replace_value(parts[1]) + b"]"
            return b"[" + b",".join(self._redact_json(item, inside) for item in parts) + b"]"
        if first == b'"':
            return self._inside_text(raw, paths)
        return raw

    def _inside_text(self, raw: bytes, paths: Sequence[PathSteps]) -> bytes:
        """Return a JSON string, redacted at the paths that lead into JSON or XML inside it."""
        text = str(msgspec.json.decode(raw))
        before = self._redacted_count
        redacted = text
        if text.lstrip()[:1] in ("{", "["):
            try:
                redacted = self._redact_json(text.encode(), paths).decode()
            except (msgspec.DecodeError, RecursionError, UnicodeError):
                return raw
        elif "<" in text:
            for path in paths:
                redacted = self._inside_xml(redacted, path[-1])
        return msgspec.json.encode(redacted) if self._redacted_count > before else raw

    def _inside_xml(self, text: str, name: str) -> str:
        """Return XML with the texts of elements and the attributes of this name redacted."""
        named = rf"(?:[\w.-]+:)?{re.escape(name)}"
        element = rf"(<{named}(?:\s[^<>]*)?>)([^<>]+|\s*<!\[CDATA\[.*?\]\]>\s*)(?=</)"
        attribute = rf"(?<=\s)({named}\s*=\s*)(\"[^\"<]*\"|'[^'<]*')"
        text = re.sub(element, self._xml_value, text, flags=re.DOTALL)
        return re.sub(attribute, self._xml_value, text)

    def _xml_value(self, match: re.Match[str]) -> str:
        text = match[2].strip()
        quote = text[0] if text[0] in "\"'" and match[1][-1] != ">" else ""
        text = text[len(quote) : len(text) - len(quote)]
        if text.startswith("<!["):
            text = text[9:-3]
        self._redacted_count += 1
        value = html.unescape(text)
        self._add_seen_value(value)
        return f"{match[1]}{quote}{self._placeholder_text(value)}{quote}"

    def _replace_value(self, raw: bytes) -> bytes:
        if raw.strip() == b"null":
            return raw
        self._redacted_count += 1
        text = raw.decode()
        text_value = str(msgspec.json.decode(text)) if text.startswith('"') else text
        if self._seen_values is not None:
            for value in _iterate_scalars(msgspec.json.decode(text)):
                self._add_seen_value(value)
        return self._placeholder_json(text_value)

    def _placeholder_json(self, text: str) -> bytes:
        """Return the JSON that replaces a value."""
        return msgspec.json.encode(self._placeholder_text(text))

    def _placeholder_text(self, text: str) -> str:
        """Return the text that replaces a value inside a text."""
        return keyed_hash.make_placeholder(self._key, text)

    def _add_seen_value(self, text: str) -> None:
        if self._seen_values is not None:
            self._seen_values.add(text)

    # Lines that wait for their repair

    def encrypt_lines(self, texts: pa.ChunkedArray) -> pa.Array:
        """Return lines encrypted with a key that only this process has."""
        encrypt = self._line_cipher().encrypt
        return pa.array(
            [
                None if text is None else encrypt(text.encode()).decode()
                for text in texts.to_pylist()
            ],
            pa.string(),
        )

    def _line_cipher(self) -> "Fernet":
        from cryptography.fernet import Fernet  # noqa: PLC0415 - few loads have lines to repair

        return Fernet(self._line_key)

    def decrypt_line(self, text: str) -> str:
        """Return the line that `encrypt_lines` encrypted; raises `InvalidToken` if it was changed."""
        return self._line_cipher().decrypt(text.encode()).decode()


class ValueRemoval(Redaction):
    """Removal of values from an existing workspace: null replaces them, or an empty text in a text."""

    _OPTION_NAME = "--value"
    _ALLOWED_FIELDS = PAYLOAD_FIELDS

    def _placeholder_json(self, text: str) -> bytes:  # noqa: ARG002 - the same for every value
        return b"null"

    def _placeholder_text(self, text: str) -> str:  # noqa: ARG002 - as above
        return ""


def _names_path(members: raw_json.RawMembers, paths: Sequence[PathSteps]) -> bool:
    """Return whether an object is a pair such as {"name": "email", "value": "…"} named by a path."""
    if len(members) > _MOST_OF_PAIR or not any(name.lower() in _PAIR_VALUES for name in members):
        return False
    return any(
        name.lower() in _PAIR_NAMES and _is_named(bytes(value), paths)
        for name, value in members.items()
    )


def _is_named(raw: bytes, paths: Sequence[PathSteps]) -> bool:
    """Return whether a JSON text is the last step of a path.

    The comparison ignores case, because the names of headers do.
    """
    if raw[:1] != b'"':
        return False
    try:
        name = str(msgspec.json.decode(raw)).lower()
    except msgspec.DecodeError:
        return False
    return any(len(path) == 1 and path[0].lower() == name for path in paths)


def _iterate_scalars(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a value, as text."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        yield from _iterate_scalars(item)
    if not isinstance(value, (dict, list, bool, type(None))):
        yield str(value)
