"""JSON documents: a list of events, an object that holds such a list, or events over several lines.

refold holds a document in memory, because the parser must read it to its end before it knows the
parts. The JSON text of each event is unchanged.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from storage.errors import SourceError
from storage.ingest.formats import SAMPLE_RECORDS, ReadPass, lines
from storage.ingest.formats.jsonl import JsonLines
from storage.ingest.io import byte_streams, raw_json
from storage.ingest.mapping import Record
from storage.ingest.mapping.column_guess import normalize_name

MAX_BYTES = 2 << 30
"""Maximum bytes of a document."""

LIST_MEMBERS = ("events", "entries", "records", "items", "messages", "history")
"""Members that hold a document's events, for example in Temporal, OCEL, Atom feeds and AWS."""

_EVENT_MEMBERS = {"type", "eventtype", "eventname", "activity", "specversion"}
"""Normalized names of members that an event has and a document of events doesn't."""


class JsonDocument(JsonLines):
    """JSON documents (`.json`)."""

    name = "json"
    is_whole_file = True

    def recognises(self, name: str, head: bytes) -> bool:  # noqa: ARG002 - the bytes decide
        start = head.removeprefix(lines.BYTE_ORDER_MARK).lstrip()
        if start[:1] == b"[":
            return True
        if start[:1] != b"{":
            return False
        first, line_break, rest = start.partition(b"\n")
        try:
            members = raw_json.parse_members(first)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            # The object goes on in the next line or is the whole file; if not, the line is damaged.
            indented = first.strip() in (b"{", b"{}") or not first.rstrip().endswith(b"}")
            return indented and (
                not line_break or rest[:1] in (b" ", b"\t", b"}", b"\r", b"\n", b'"')
            )
        return not rest.strip() and _find_event_list(members) is not None

    def read_sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - it is read whole
        decoded = (_decode_json(text) for text in _iterate_events(path))
        return list(islice((one for one in decoded if isinstance(one, dict)), SAMPLE_RECORDS))

    def read_lines(self, reading: ReadPass) -> Iterator[lines.Lines]:
        return lines.number_texts(_iterate_events(reading.path), reading)


def _iterate_events(path: str) -> Iterator[str]:
    """Yield the JSON text of each event; raises `SourceError` if the document is damaged or too large."""
    stream, _ = byte_streams.open_bytes(path)
    with stream:
        try:
            data = stream.read(MAX_BYTES + 1)
        except byte_streams.STREAM_ERRORS as error:
            raise byte_streams.damaged_source_error(path, error) from error
    if len(data) > MAX_BYTES:
        raise SourceError(
            f"{path} is one JSON document of over {MAX_BYTES >> 30} GiB."
            " Write one object per line (with `jq -c '.[]'`) and load these lines."
        )
    data = data.removeprefix(lines.BYTE_ORDER_MARK)
    try:
        if data.lstrip()[:1] == b"[":
            yield from (bytes(raw).decode() for raw in raw_json.parse_items(data))
            return
        members = raw_json.parse_members(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if "trailing" not in str(error):
            raise _unreadable_error(path, error) from error
        yield from _iterate_concatenated(path, data)
        return
    event_list = _find_event_list(members)
    try:
        yield from (
            [data.decode()] if event_list is None else (bytes(raw).decode() for raw in event_list)
        )
    except UnicodeDecodeError as error:
        raise _unreadable_error(path, error) from error


def _find_event_list(members: raw_json.RawMembers) -> list[msgspec.Raw] | None:
    """Return the events that an object holds in a list; None if the object is an event itself."""
    by_name = {name.lower(): raw for name, raw in members.items()}
    if _EVENT_MEMBERS & {normalize_name(name) for name in members}:
        return None
    for name in LIST_MEMBERS:
        if name in by_name:
            raw = bytes(by_name[name]).lstrip()
            try:
                if raw[:1] == b"[":
                    items = raw_json.parse_items(raw)
                    if not items or any(bytes(item)[:1] == b"{" for item in items[:10]):
                        return items
                elif raw[:1] == b"{":
                    return _find_event_list(raw_json.parse_members(raw))
            except (msgspec.DecodeError, RecursionError):
                return None
    return None


def _iterate_concatenated(path: str, data: bytes) -> Iterator[str]:
    """Yield the JSON text of values that follow each other with only whitespace between them."""
    text, decoder, at = data.decode(errors="replace"), json.JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _unreadable_error(path, error) from error
        yield text[at:end]
        at = end


def _decode_json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _unreadable_error(path: str, error: Exception) -> SourceError:
    reason = str(error).removeprefix("JSON is malformed: ") or "it is nested too deep"
    return SourceError(
        f"{path} is a JSON document that can't be read ({reason}). Check that the file is complete."
    )
