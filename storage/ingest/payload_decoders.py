"""Payloads that are opaque as they are stored: packed, in another notation than JSON, or both.

A chain of steps makes JSON of them, `base64+gzip+msgpack`. What a chain can't read stays as it is stored,
is counted, and the load goes on.
"""

import base64
import binascii
import gzip
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pyarrow as pa
import yaml
import zstandard

from storage import bounded_yaml, regular_file
from storage.errors import SourceError, one_line
from storage.ingest.io import avro_payload
from storage.ingest.io.expansion import Expansion
from storage.ingest.mapping import PAYLOADS

_SCHEMA_BYTES = 64 << 20

MOST = 64 << 20
"""Bytes that a payload may have when it is unpacked."""
_LIMITS = {"msgpack": 16 << 20, "avro": 16 << 20, "protobuf": 4 << 20, "yaml": 1 << 20}
"""Bytes of a payload in a notation whose values take much more memory, or time, than its bytes."""
_AT_ONCE = 512 << 20
"""Bytes of decoded payloads that are held at once; further ones stay as they are stored."""

_FAILURES = (
    *(ValueError, TypeError, KeyError, IndexError, EOFError, OSError, RecursionError),
    *(zlib.error, binascii.Error, zstandard.ZstdError, msgspec.MsgspecError, yaml.YAMLError),
    *(pa.ArrowException, UnicodeError, ArithmeticError, AttributeError, MemoryError),
)
"""What steps raise at bytes that they can't read; hostile ones raise nearly everything."""

Step = Callable[[Any], Any]
Unpack = Callable[[Sequence[str | bytes]], Sequence[str | None]]
"""A function of the user's: payloads into JSON texts; None where it raises."""
Unpackers = Callable[[str], Unpack]
"""Finds such a function by its name, `decoders.py:unpack`."""
_OWN = "python:"


@dataclass
class Decoder:
    """A chain of steps, and how often it was of no use."""

    said: str
    """The steps, as `base64+gzip+msgpack`; a schema's file stands behind a colon."""
    unpackers: Unpackers | None = None
    """Finds functions of the user's, where they may run."""
    failed: int = 0
    _steps: Sequence[Step] = field(default_factory=list)
    _expansion: Expansion = field(default_factory=lambda: Expansion("The payloads"))
    _own: Unpack | None = None
    """The last step, where it is the user's."""

    def __post_init__(self) -> None:
        steps, own = self.said.split("+"), _own(self.said)
        if own:
            if self.unpackers is None:
                raise SourceError(
                    f"Payloads are decoded by {own}, and no code runs that isn't"
                    f" named: give --decode FIELD={self.said}."
                )
            self._own = self.unpackers(own)
            steps.pop()
        self._steps = [_step(name) for name in steps]

    def __call__(self, text: str | None) -> str | None:
        """The JSON text of a payload, of which the text of the stored JSON is given."""
        return self._all([text])[0]

    def batch(self, texts: pa.ChunkedArray) -> pa.Array:
        """The same for a column."""
        return pa.array(self._all(texts.to_pylist()), pa.string())

    def _all(self, texts: Sequence[str | None]) -> list[str | None]:
        found = list(texts)
        waiting: dict[int, str | bytes] = {}
        """What the user's function is to unpack."""
        held = 0
        for number, text in enumerate(texts):
            try:
                value = None if text is None else msgspec.json.decode(text)
                if not isinstance(value, str):
                    continue  # not packed after all
                if held > _AT_ONCE:
                    self.failed += 1
                    continue
                value = self._stepped(value)
                if self._own is None:
                    found[number] = written = _written(value)
                    held += len(written)
                else:
                    plain = isinstance(value, (str, bytes))
                    waiting[number] = value if plain else _written(value)
                    held += len(waiting[number])
            except _FAILURES:
                self.failed += 1
        if self._own is not None and waiting:
            unpacked = self._own(list(waiting.values()))
            for number, text in zip(waiting, unpacked, strict=True):
                found[number] = texts[number] if text is None else text
                self.failed += text is None
        return found

    def _stepped(self, value: Any) -> Any:
        size = len(value)
        for step in self._steps:
            value = step(value)
            if isinstance(value, bytes):
                # What expands too far in all is no log; `SourceError` is none of the failures.
                self._expansion.count(size, len(value))
                size = len(value)
        return value


def code_in(decoders: Mapping[str, str]) -> list[str]:
    """Those of the ways to decode that run a function of the user's."""
    return [said for said in decoders.values() if _own(said)]


def beside(folder: Path, said: str) -> str:
    """A way to decode, with the folder in which its files (function, schema) lie in their names."""
    return "+".join(_with_folder(folder, step) for step in said.split("+"))


def _with_folder(folder: Path, step: str) -> str:
    rest = _file_and_more(step)
    if not rest or rest.startswith("~"):
        return step
    return f"{step.removesuffix(rest)}{folder / rest}"


def files_in(said: str) -> list[str]:
    """The files that a way to decode names: of the function, and of schemas."""
    named = [(step, _file_and_more(step)) for step in said.split("+")]
    return [
        rest if step.startswith("avro:") else rest.rpartition(":")[0] or rest
        for step, rest in named
        if rest
    ]


def _file_and_more(step: str) -> str:
    """What stands behind the name of a step that takes a file; empty for any other step."""
    kind, _, rest = step.partition(":")
    return rest if kind in ("python", "avro", "protobuf") else ""


def _own(said: str) -> str:
    """The user's function, where the last step is one: `decoders.py:unpack`."""
    last = said.rpartition("+")[2]
    return last.removeprefix(_OWN) if last.startswith(_OWN) else ""


def _written(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        value = _as_json(bytes(value))
    return msgspec.json.encode(value, enc_hook=_shown).decode()


def read(wanted: Mapping[str, str], unpackers: Unpackers | None = None) -> dict[str, Decoder]:
    """The decoders of fields; raises `SourceError` where a field or a step isn't known."""
    strange = [name for name in wanted if name not in PAYLOADS]
    if strange:
        raise SourceError(f"--decode takes {' and '.join(PAYLOADS)}, and not {strange[0]!r}.")
    return {name: Decoder(said, unpackers) for name, said in wanted.items()}


def _step(said: str) -> Step:
    name, _, schema = said.partition(":")
    if name == "avro":
        return _avro(schema)
    if name == "protobuf":
        return _protobuf(schema)
    if name not in _STEPS or schema:
        raise SourceError(
            f"There is no decoder {said!r}; there are {', '.join((*_STEPS, *_BY_SCHEMA))}."
        )
    return _STEPS[name]


def _bytes(value: Any) -> bytes:
    """Bytes, which in JSON are text in base64."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return base64.b64decode(value, validate=True)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, (bytes, bytearray)) else str(value)


def _hex(value: Any) -> bytes:
    return bytes.fromhex(_text(value).removeprefix("\\x").removeprefix("0x"))


def _gzip(value: Any) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(_bytes(value))) as packed:
        return _bounded(packed.read(MOST + 1))


def _zlib(value: Any) -> bytes:
    unpacked = zlib.decompressobj()
    return _bounded(unpacked.decompress(_bytes(value), MOST + 1))


def _zstd(value: Any) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(_bytes(value))) as packed:
        return _bounded(packed.read(MOST + 1))


def _snappy(value: Any) -> bytes:
    """Snappy's block format, which says its own length first."""
    packed, size, shift = _bytes(value), 0, 0
    for byte in packed[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > MOST:
        raise ValueError(size)
    return bytes(pa.decompress(packed, decompressed_size=size, codec="snappy"))


def _within(notation: str, data: Any) -> Any:
    if len(data) > _LIMITS[notation]:
        raise ValueError(len(data))
    return data


def _bounded(data: bytes) -> bytes:
    if len(data) > MOST:
        raise ValueError(len(data))
    return data


def _msgpack(value: Any) -> Any:
    return msgspec.msgpack.decode(_within("msgpack", _bytes(value)))


def _yaml(value: Any) -> Any:
    # libyaml crashes at deep nesting; this one raises.
    return bounded_yaml.load(_within("yaml", _text(value)), _Ruby)


_SPOKEN = (msgspec.DecodeError, fastavro.schema.SchemaParseException)
"""Errors that say what is wrong with a schema."""


def _avro(path: str) -> Step:
    """Avro without its container, by a schema in a file."""
    named: dict[str, Any] = {}
    try:
        said = msgspec.json.decode(_schema(path))
        read = avro_payload.reader_of(fastavro.parse_schema(said, named), named)
    except OSError as error:
        raise SourceError(f"{path or 'avro:'} can't be read: {error.strerror or error}.") from error
    except Exception as error:  # fastavro takes the schema's shape for granted
        said = one_line(error) if isinstance(error, _SPOKEN) else "it has another shape"
        raise SourceError(f"{path or 'avro:'} is no Avro schema ({said}).") from error
    return lambda value: read(_within("avro", _bytes(value)))


def _schema(path: str) -> bytes:
    """The content of a schema's file; a pipe or a device is none."""
    return regular_file.read_bytes(Path(path).expanduser(), _SCHEMA_BYTES)


def _protobuf(said: str) -> Step:
    """A message of Protocol Buffers, by a compiled descriptor and its name."""
    from storage.ingest.io import protobuf  # noqa: PLC0415 - it takes its time to import

    path, _, name = said.rpartition(":")
    try:
        decode = protobuf.of_set(_schema(path)).named(name)
    except (OSError, RuntimeError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{said or 'protobuf:'} is no message of a descriptor set ({one_line(error)})."
        ) from error
    return lambda value: decode(_within("protobuf", _bytes(value)))


_BY_SCHEMA = (
    *("avro:SCHEMA.avsc", "protobuf:SET.desc:package.Message"),
    "python:FILE.py:function as the last",
)

_STEPS: Mapping[str, Step] = {
    "base64": lambda value: base64.b64decode(_text(value), validate=True),
    "hex": _hex,
    "gzip": _gzip,
    "zlib": _zlib,
    "zstd": _zstd,
    "snappy": _snappy,
    "msgpack": _msgpack,
    "yaml": _yaml,
}


class _Ruby(yaml.SafeLoader):
    """YAML as Ruby writes it: its symbols become text, its objects the mappings that they are."""


def _object(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


_Ruby.add_multi_constructor("!", _object)
_Ruby.add_multi_constructor("tag:", _object)


def _as_json(data: bytes) -> Any:
    """What unpacked bytes hold: JSON, text, or what is shown in hexadecimal."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data.hex()
    return msgspec.Raw(data) if _is_json(data) else text


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, (bytes, bytearray)) else str(value)
