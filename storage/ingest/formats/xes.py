"""The format XES, XML of process mining: events in traces, with typed attributes. Source: IEEE 1849.

Attributes keep their names. Each event repeats the attributes of its trace as `case:…`, as the CSV files
of process mining tools do.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from xml.parsers import expat

import msgspec

from storage.errors import SourceError, summarize_error
from storage.ingest.formats import SAMPLE_RECORDS, ReadPass, lines
from storage.ingest.formats.jsonl import JsonLines
from storage.ingest.io import byte_streams
from storage.ingest.mapping import Record

_CHUNK_BYTES = 1 << 20
_ATTRIBUTES = ("string", "date", "int", "float", "boolean", "id", "list", "container")
_MAX_DEPTH = 500
"""Maximum nesting of elements."""
_MAX_ATTRIBUTES = 10_000
"""Maximum attributes of one event, or of one trace, because its events repeat them."""
_NUMBER_DECODER = msgspec.json.Decoder(float)


class Xes(JsonLines):
    """XES files (`.xes`), plain or compressed."""

    name = "xes"
    is_whole_file = True

    def recognises(self, name: str, head: bytes) -> bool:
        start = head.removeprefix(lines.BYTE_ORDER_MARK).lstrip()
        return start[:1] == b"<" and (b"<log" in start[:65_536] or ".xes" in name.lower())

    def read_sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - it is parsed
        return [msgspec.json.decode(text) for text in islice(_iterate_events(path), SAMPLE_RECORDS)]

    def read_lines(self, reading: ReadPass) -> Iterator[lines.Lines]:
        return lines.number_texts(_iterate_events(reading.path), reading)


class _EventCollector:
    """Handlers of the XML parser that collect events as JSON text."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._trace: dict[str, str] = {}
        self._event: dict[str, str] | None = None
        self._elements = 0
        self._depth = 0
        """Nesting of attributes inside each other; only the outermost ones are read."""

    def start_element(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        self._elements += 1
        if self._elements > _MAX_DEPTH:
            raise SourceError(
                f"The XES log is nested deeper than {_MAX_DEPTH}. Flatten it before loading."
            )
        if tag == "trace":
            self._trace = {}
        elif tag == "event":
            self._event = {}
        elif tag in _ATTRIBUTES:
            self._depth += 1
            if self._depth == 1 and "key" in attributes:
                json_value = _attribute_json(tag, attributes.get("value", ""))
                if max(len(self._trace), len(self._event or ())) > _MAX_ATTRIBUTES:
                    raise SourceError(
                        f"An event or trace of the XES log has more than {_MAX_ATTRIBUTES:,}"
                        " attributes. Remove attributes before loading."
                    )
                if self._event is not None:
                    self._event[attributes["key"]] = json_value
                else:
                    self._trace[f"case:{attributes['key']}"] = json_value

    def end_element(self, tag: str) -> None:
        tag = tag.rpartition(":")[2]
        self._elements -= 1
        if tag in _ATTRIBUTES:
            self._depth -= 1
        elif tag == "trace":
            self._trace = {}
        elif tag == "event" and self._event is not None:
            members = {**self._trace, **self._event}
            texts = (f"{msgspec.json.encode(n).decode()}:{v}" for n, v in members.items())
            self.events.append("{" + ",".join(texts) + "}")
            self._event = None


def _iterate_events(path: str) -> Iterator[str]:
    parser, log = expat.ParserCreate(), _EventCollector()
    parser.StartElementHandler, parser.EndElementHandler = log.start_element, log.end_element
    parser.EntityDeclHandler = parser.StartDoctypeDeclHandler = _refuse_entities
    stream, _ = byte_streams.open_bytes(path)
    with stream:
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                parser.Parse(chunk, False)
                yield from log.events
                log.events.clear()
            parser.Parse(b"", True)
        except byte_streams.STREAM_ERRORS as error:
            raise byte_streams.damaged_source_error(path, error) from error
        except expat.ExpatError as error:
            raise SourceError(
                f"{path} can't be read as XES ({error}). Check that the file is complete."
            ) from error
        except (LookupError, ValueError) as error:  # raised when the parser looks up an encoding
            raise SourceError(
                f"{path} is in an encoding that can't be read ({summarize_error(error)})."
                " Convert it to UTF-8 first."
            ) from error
    yield from log.events


def _refuse_entities(*_: Any) -> None:
    raise SourceError(
        "The XES log declares a document type or entities, which refold doesn't read. Remove the"
        " declaration."
    )


def _attribute_json(kind: str, text: str) -> str:
    if kind in ("int", "float"):
        try:
            _NUMBER_DECODER.decode(text)
        except (msgspec.DecodeError, UnicodeError):
            pass
        else:
            return text
    if kind == "boolean" and text in ("true", "false"):
        return text
    return msgspec.json.encode(text).decode()
