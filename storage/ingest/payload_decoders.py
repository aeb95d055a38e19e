"""Decode payloads that are stored compressed, in another notation than JSON, or both.

A decoder is a chain of steps, such as `base64+gzip+msgpack`, that turns a payload into JSON. A payload that
the chain can't read keeps its stored form and is counted, and the load goes on.
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
from storage.errors import SourceError, summarize_error
from storage.ingest.io import avro_payload
from storage.ingest.io.expansion_limit import Expansion
from storage.ingest.mapping import PAYLOAD_FIELDS

_SCHEMA_BYTES = 64 << 20

MAX_UNPACKED_BYTES = 64 << 20
"""Maximum bytes of a decompressed payload."""
_LIMITS = {"msgpack": 16 << 20, "avro": 16 << 20, "protobuf": 4 << 20, "yaml": 1 << 20}
"""Maximum bytes of a payload, by notation: its values take much more memory or time than its bytes."""
_AT_ONCE = 512 << 20
"""Maximum bytes of decoded payloads in one batch; the payloads after them keep their stored form."""

_FAILURES = (
    *(ValueError, TypeError, KeyError, IndexError, EOFError, OSError, RecursionError),
    *(zlib.error, binascii.Error, zstandard.ZstdError, msgspec.MsgspecError, yaml.YAMLError),
    *(pa.ArrowException, UnicodeError, ArithmeticError, AttributeError, MemoryError),
)
"""What a step raises for bytes that it can't read; malicious bytes raise nearly everything."""

DecodeStep = Callable[[Any], Any]
UserDecoder = Callable[[Sequence[str | bytes]], Sequence[str | None]]
"""A function of the user that turns payloads into JSON texts; None for a payload at which it raises."""
DecoderFinder = Callable[[str], UserDecoder]
"""Finds a user's function by its name, such as `decoders.py:unpack`."""
_USER_FUNCTION_PREFIX = "python:"


@dataclass
class Decoder:
    """A chain of decoding steps for one field, and the number of payloads that it couldn't read."""

    steps: str
    """The steps, such as `base64+gzip+msgpack`; the file of a schema follows a colon."""
    find_decoder: DecoderFinder | None = None
    """Finds the user's functions; None if they may not run."""
    failure_count: int = 0
    """Number of payloads that kept their stored form."""
    _functions: Sequence[DecodeStep] = field(default_factory=list)
    _expansion: Expansion = field(default_factory=lambda: Expansion("The payloads"))
    _user_decoder: UserDecoder | None = None
    """The last step, if it is a function of the user."""

    def __post_init__(self) -> None:
        step_names, function_name = self.steps.split("+"), _user_function_name(self.steps)
        if function_name:
            if self.find_decoder is None:
                raise SourceError(
                    f"The code in {function_name} decodes payloads, and refold runs only code that"
                    f" you name: give --decode FIELD={self.steps}."
                )
            self._user_decoder = self.find_decoder(function_name)
            step_names.pop()
        self._functions = [_find_step(name) for name in step_names]

    def __call__(self, text: str | None) -> str | None:
        """Return the decoded payload as JSON text; `text` is the stored payload as JSON text."""
        return self._decode_all([text])[0]

    def decode_column(self, texts: pa.ChunkedArray) -> pa.Array:
        """Return a column of decoded payloads as JSON texts."""
        return pa.array(self._decode_all(texts.to_pylist()), pa.string())

    def _decode_all(self, texts: Sequence[str | None]) -> list[str | None]:
        decoded = list(texts)
        user_payloads: dict[int, str | bytes] = {}
        """Payloads for the user's function, by index."""
        held = 0
        for number, text in enumerate(texts):
            try:
                value = None if text is None else msgspec.json.decode(text)
                if not isinstance(value, str):
                    continue  # this payload is plain JSON
                if held > _AT_ONCE:
                    self.failure_count += 1
                    continue
                value = self._apply_steps(value)
                if self._user_decoder is None:
                    decoded[number] = written = _encode_value(value)
                    held += len(written)
                else:
                    plain = isinstance(value, (str, bytes))
                    user_payloads[number] = value if plain else _encode_value(value)
                    held += len(user_payloads[number])
            except _FAILURES:
                self.failure_count += 1
        if self._user_decoder is not None and user_payloads:
            unpacked = self._user_decoder(list(user_payloads.values()))
            for number, text in zip(user_payloads, unpacked, strict=True):
                decoded[number] = texts[number] if text is None else text
                self.failure_count += text is None
        return decoded

    def _apply_steps(self, value: Any) -> Any:
        size = len(value)
        for step in self._functions:
            value = step(value)
            if isinstance(value, bytes):
                # A source that expands too far is refused: `SourceError` is not in _FAILURES.
                self._expansion.count(size, len(value))
                size = len(value)
        return value


def list_user_code(decoders: Mapping[str, str]) -> list[str]:
    """Return the decoders' steps that run a function of the user."""
    return [steps for steps in decoders.values() if _user_function_name(steps)]


def resolve_code_path(folder: Path, steps: str) -> str:
    """Return the steps with the files of functions and schemas resolved against `folder`."""
    return "+".join(_with_folder(folder, step) for step in steps.split("+"))


def _with_folder(folder: Path, step: str) -> str:
    rest = _file_and_more(step)
    if not rest or rest.startswith("~"):
        return step
    return f"{step.removesuffix(rest)}{folder / rest}"


def files_in(steps: str) -> list[str]:
    """Return the files that decoding steps name: of functions and of schemas."""
    named = [(step, _file_and_more(step)) for step in steps.split("+")]
    return [
        rest if step.startswith("avro:") else rest.rpartition(":")[0] or rest
        for step, rest in named
        if rest
    ]


def _file_and_more(step: str) -> str:
    """Return what follows the colon in a step that names a file; empty for any other step."""
    kind, _, rest = step.partition(":")
    return rest if kind in ("python", "avro", "protobuf") else ""


def _user_function_name(steps: str) -> str:
    """Return the user's function of the last step, such as `decoders.py:unpack`; empty if none."""
    last = steps.rpartition("+")[2]
    return (
        last.removeprefix(_USER_FUNCTION_PREFIX) if last.startswith(_USER_FUNCTION_PREFIX) else ""
    )


def _encode_value(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        value = _bytes_to_json(bytes(value))
    return msgspec.json.encode(value, enc_hook=_encode_unknown).decode()


def build_decoders(
    steps_by_field: Mapping[str, str], find_decoder: DecoderFinder | None = None
) -> dict[str, Decoder]:
    """Return the decoder of each field; raises `SourceError` if a field or a step is unknown."""
    unknown = [name for name in steps_by_field if name not in PAYLOAD_FIELDS]
    if unknown:
        raise SourceError(
            f"--decode can't decode {unknown[0]!r}. Name {' or '.join(PAYLOAD_FIELDS)}."
        )
    return {name: Decoder(steps, find_decoder) for name, steps in steps_by_field.items()}


def _find_step(step: str) -> DecodeStep:
    name, _, schema = step.partition(":")
    if name == "avro":
        return _avro_step(schema)
    if name == "protobuf":
        return _protobuf_step(schema)
    if name not in _STEPS or schema:
        raise SourceError(
            f"Unknown decoder {step!r}. Use one of {', '.join((*_STEPS, *_SCHEMA_STEP_NAMES))}."
        )
    return _STEPS[name]


def _to_bytes(value: Any) -> bytes:
    """Return a step's input as bytes; text is base64, because JSON has no bytes."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return base64.b64decode(value, validate=True)


def _to_text(value: Any) -> str:
    return value.decode() if isinstance(value, (bytes, bytearray)) else str(value)


def _decode_hex(value: Any) -> bytes:
    return bytes.fromhex(_to_text(value).removeprefix("\\x").removeprefix("0x"))


def _decompress_gzip(value: Any) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(_to_bytes(value))) as packed:
        return _check_size(packed.read(MAX_UNPACKED_BYTES + 1))


def _decompress_zlib(value: Any) -> bytes:
    unpacked = zlib.decompressobj()
    return _check_size(unpacked.decompress(_to_bytes(value), MAX_UNPACKED_BYTES + 1))


def _decompress_zstd(value: Any) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(_to_bytes(value))) as packed:
        return _check_size(packed.read(MAX_UNPACKED_BYTES + 1))


def _decompress_snappy(value: Any) -> bytes:
    """Decompress Snappy's block format, which begins with the length of its content."""
    packed, size, shift = _to_bytes(value), 0, 0
    for byte in packed[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > MAX_UNPACKED_BYTES:
        raise ValueError(size)
    return bytes(pa.decompress(packed, decompressed_size=size, codec="snappy"))


def _within(notation: str, data: Any) -> Any:
    if len(data) > _LIMITS[notation]:
        raise ValueError(len(data))
    return data


def _check_size(data: bytes) -> bytes:
    if len(data) > MAX_UNPACKED_BYTES:
        raise ValueError(len(data))
    return data


def _decode_msgpack(value: Any) -> Any:
    return msgspec.msgpack.decode(_within("msgpack", _to_bytes(value)))


def _decode_yaml(value: Any) -> Any:
    # libyaml crashes at deep nesting; this parser raises.
    return bounded_yaml.load(_within("yaml", _to_text(value)), _RubyYamlLoader)


_SPOKEN = (msgspec.DecodeError, fastavro.schema.SchemaParseException)
"""Errors whose message says what is wrong with a schema."""


def _avro_step(path: str) -> DecodeStep:
    """Return a step that reads Avro without its container, with the schema in a file."""
    named: dict[str, Any] = {}
    try:
        schema = msgspec.json.decode(_read_schema(path))
        read = avro_payload.reader_of(fastavro.parse_schema(schema, named), named)
    except OSError as error:
        raise SourceError(f"{path or 'avro:'} can't be read: {error.strerror or error}.") from error
    except Exception as error:  # fastavro assumes the schema's shape, and raises nearly everything
        has_reason = isinstance(error, _SPOKEN)
        reason = summarize_error(error) if has_reason else "it has another shape"
        raise SourceError(f"{path or 'avro:'} is no Avro schema ({reason}).") from error
    return lambda value: read(_within("avro", _to_bytes(value)))


def _read_schema(path: str) -> bytes:
    """Return the content of a schema's file; raises `OSError` for a pipe or a device."""
    return regular_file.read_bytes(Path(path).expanduser(), _SCHEMA_BYTES)


def _protobuf_step(step_argument: str) -> DecodeStep:
    """Return a step that reads a Protocol Buffers message, with a descriptor set and its name."""
    from storage.ingest.io import protobuf  # noqa: PLC0415 - it is slow to import

    path, _, name = step_argument.rpartition(":")
    try:
        decode = protobuf.read_descriptor_set(_read_schema(path)).decoder_by_name(name)
    except (OSError, RuntimeError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{step_argument or 'protobuf:'} is no message of a descriptor set"
            f" ({summarize_error(error)}). Give protobuf:SET.desc:package.Message."
        ) from error
    return lambda value: decode(_within("protobuf", _to_bytes(value)))


_SCHEMA_STEP_NAMES = (
    *("avro:SCHEMA.avsc", "protobuf:SET.desc:package.Message"),
    "python:FILE.py:function as the last",
)

_STEPS: Mapping[str, DecodeStep] = {
    "base64": lambda value: base64.b64decode(_to_text(value), validate=True),
    "hex": _decode_hex,
    "gzip": _decompress_gzip,
    "zlib": _decompress_zlib,
    "zstd": _decompress_zstd,
    "snappy": _decompress_snappy,
    "msgpack": _decode_msgpack,
    "yaml": _decode_yaml,
}


class _RubyYamlLoader(yaml.SafeLoader):
    """Loader of YAML written by Ruby: symbols become text, and objects become mappings."""


def _construct_untagged(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


_RubyYamlLoader.add_multi_constructor("!", _construct_untagged)
_RubyYamlLoader.add_multi_constructor("tag:", _construct_untagged)


def _bytes_to_json(data: bytes) -> Any:
    """Return decoded bytes as JSON, as text if they are UTF-8, or as hexadecimal text."""
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


def _encode_unknown(value: Any) -> Any:
    return value.hex() if isinstance(value, (bytes, bytearray)) else str(value)
