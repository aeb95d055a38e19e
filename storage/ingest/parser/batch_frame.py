"""Frames that carry record batches from the parser process to refold.

Arrow's own IPC reader trusts the metadata of a message and crashes if they are forged. A frame
therefore carries only buffers and their lengths. The reader checks each length, accepts types from
a closed list only, and validates the arrays in full before their values are used.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa

MAX_HEADER_BYTES = 4 << 20
MAX_FRAME_BYTES = 1 << 30
"""Maximum bytes of the buffers of one batch, with padding."""
_MAX_DEPTH = 64
"""Maximum nesting of lists and structs in the type of a column."""
_ALIGNMENT = 64
_LEAVES = {
    str(leaf): leaf
    for leaf in (
        *(pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float32(), pa.float64()),
        *(pa.string(), pa.binary(), pa.date32(), pa.time32("s"), pa.time32("ms")),
        *(pa.time64("us"), pa.time64("ns"), pa.month_day_nano_interval()),
    )
}
_UNITS = ("s", "ms", "us", "ns")


class FrameError(ValueError):
    """The other process sent an invalid frame; the message says why it is invalid."""


class UnsupportedTypeError(ValueError):
    """A frame can't carry columns of this type."""


def write_frame(
    stream: BinaryIO, header: dict[str, Any], buffers: Sequence[pa.Buffer | None] = ()
) -> None:
    """Write a header, and its buffers padded to multiples of 64 bytes."""
    lengths = [-1 if buffer is None else buffer.size for buffer in buffers]
    text = json.dumps({**header, "buffers": lengths}).encode()
    stream.write(len(text).to_bytes(4, "little") + text)
    for buffer in buffers:
        if buffer is not None:
            stream.write(memoryview(buffer))
            stream.write(bytes(-buffer.size % _ALIGNMENT))
    stream.flush()


def read_header(stream: BinaryIO) -> dict[str, Any] | None:
    """Return the header of the next frame, or None at the end of the stream.

    Raises `FrameError` if the header is invalid.
    """
    size = stream.read(4)
    if not size:
        return None
    length = int.from_bytes(size, "little")
    if len(size) < 4 or not 0 < length <= MAX_HEADER_BYTES:
        raise FrameError("the length of a header is out of bounds")
    text = stream.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError("a header is not JSON") from error
    if len(text) < length or not isinstance(header, dict):
        raise FrameError("a header is not an object")
    return header


def read_buffers(stream: BinaryIO, header: dict[str, Any]) -> list[pa.Buffer | None]:
    """Return the buffers that a header announces; raises `FrameError` if they are too long or torn."""
    lengths = header.get("buffers")
    if not isinstance(lengths, list) or not all(
        type(length) is int and -1 <= length <= MAX_FRAME_BYTES for length in lengths
    ):
        raise FrameError("the lengths of buffers are out of bounds")
    padded = [0 if length < 0 else length + -length % _ALIGNMENT for length in lengths]
    total = sum(padded)
    if total > MAX_FRAME_BYTES:
        raise FrameError(f"a frame is longer than {MAX_FRAME_BYTES >> 20} MiB")
    whole = pa.allocate_buffer(total)
    target, filled = memoryview(whole), 0
    while filled < total:
        count = stream.readinto(target[filled:])  # type: ignore[attr-defined]
        if not count:
            raise FrameError("the output ends inside a frame")
        filled += count
    buffers: list[pa.Buffer | None] = []
    start = 0
    for length, step in zip(lengths, padded, strict=True):
        buffers.append(None if length < 0 else whole.slice(start, length))
        start += step
    return buffers


def describe_schema(schema: pa.Schema) -> list[Any]:
    """Return the names and types of the columns as JSON; raises `UnsupportedTypeError`."""
    return [[field.name, _described(field.type)] for field in schema]


def read_schema(described: object) -> pa.Schema:
    """Return the schema that `describe_schema` described; raises `FrameError`."""
    try:
        return pa.schema([_field(one, 0) for one in _items(described)])
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise FrameError("the description of a schema is invalid") from error


def split_batch(batch: pa.RecordBatch) -> tuple[dict[str, Any], list[pa.Buffer | None]]:
    """Return the header and the buffers of a batch."""
    if any(array.offset for column in batch.columns for array in _nodes(column)):
        # Arrow's writer drops the bytes before the first row, and so removes the offsets.
        batch = pa.ipc.read_record_batch(batch.serialize(), batch.schema)
    nodes = [[len(array), array.offset] for column in batch.columns for array in _nodes(column)]
    buffers = [buffer for column in batch.columns for buffer in column.buffers()]
    return {"kind": "batch", "rows": batch.num_rows, "nodes": nodes}, buffers


def join_batch(
    header: dict[str, Any], buffers: Sequence[pa.Buffer | None], schema: pa.Schema
) -> pa.RecordBatch:
    """Return the batch of a frame, validated in full; raises `FrameError`."""
    rows, nodes = header.get("rows"), header.get("nodes")
    if type(rows) is not int or not 0 <= rows < 1 << 31 or not isinstance(nodes, list):
        raise FrameError("a batch has no number of rows")
    try:
        # DuckDB writes a HUGEINT as a decimal with more digits than Arrow allows, which a full
        # validation refuses. Any 16 bytes are a harmless decimal, so validate decimals as bytes.
        plain = pa.schema([field.with_type(_without_decimals(field.type)) for field in schema])
        _joined(nodes, buffers, plain, rows).validate(full=True)
        batch = _joined(nodes, buffers, schema, rows)
    except (pa.ArrowException, StopIteration, TypeError, ValueError, OverflowError) as error:
        raise FrameError(f"the rows of a batch are invalid ({error})") from error
    return batch


def _joined(
    nodes: list[Any], buffers: Sequence[pa.Buffer | None], schema: pa.Schema, rows: int
) -> pa.RecordBatch:
    sizes, waiting = iter(nodes), iter(buffers)
    arrays = [_array(field.type, sizes, waiting) for field in schema]
    if next(sizes, None) is not None or any(len(array) != rows for array in arrays):
        raise FrameError("the columns of a batch don't match its header")
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _without_decimals(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal128(kind):
        return pa.binary(16)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_decimals(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        inner = kind.value_field.with_type(_without_decimals(kind.value_type))
        return pa.list_(inner, kind.list_size)
    if pa.types.is_map(kind):
        return pa.map_(_without_decimals(kind.key_type), _without_decimals(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(_without_decimals(f.type)) for f in _children(kind)])
    return kind


def _array(
    kind: pa.DataType, sizes: Iterator[Any], waiting: Iterator[pa.Buffer | None]
) -> pa.Array:
    length, offset = next(sizes)
    if not all(type(n) is int and 0 <= n < 1 << 31 for n in (length, offset)) or offset:
        raise FrameError("the length of a column is out of bounds")
    own = [next(waiting) for _ in range(kind.num_buffers)]
    if pa.types.is_null(kind):
        return pa.nulls(length)
    children = [_array(child.type, sizes, waiting) for child in _children(kind)]
    if pa.types.is_struct(kind) and any(len(child) < length for child in children):
        raise FrameError("a struct is longer than its members")
    return pa.Array.from_buffers(kind, length, own, children=children or None)


def _nodes(array: pa.Array) -> Iterator[pa.Array]:
    """Yield an array and its nested arrays, in the order of their buffers."""
    yield array
    if pa.types.is_struct(array.type):
        for index in range(array.type.num_fields):
            yield from _nodes(array.field(index))
    elif array.type.num_fields:
        yield from _nodes(array.values)


def _children(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_map(kind):
        return [pa.field("entries", pa.struct([kind.key_field, kind.item_field]), nullable=False)]
    return [kind.field(index) for index in range(kind.num_fields)]


def _described(kind: pa.DataType) -> Any:
    if str(kind) in _LEAVES:
        return str(kind)
    if pa.types.is_timestamp(kind):
        return ["timestamp", kind.unit, kind.tz]
    if pa.types.is_decimal128(kind):
        return ["decimal", kind.precision, kind.scale]
    if pa.types.is_list(kind):
        return ["list", kind.value_field.name, _described(kind.value_type)]
    if pa.types.is_fixed_size_list(kind):
        return ["array", kind.list_size, kind.value_field.name, _described(kind.value_type)]
    if pa.types.is_map(kind):
        return ["map", _described(kind.key_type), _described(kind.item_type)]
    if pa.types.is_struct(kind):
        return ["struct", *([f.name, _described(f.type)] for f in _children(kind))]
    raise UnsupportedTypeError(str(kind))


def _items(described: object) -> list[Any]:
    if not isinstance(described, list):
        raise FrameError("the description of a type is invalid")
    return described


def _field(described: object, depth: int) -> pa.Field:
    name, kind = _items(described)
    if not isinstance(name, str):
        raise FrameError("a column has no name")
    return pa.field(name, _type(kind, depth))


def _type(described: object, depth: int) -> pa.DataType:
    if depth > _MAX_DEPTH:
        raise FrameError(f"a type is nested deeper than {_MAX_DEPTH}")
    if isinstance(described, str):
        if described not in _LEAVES:
            raise FrameError("a type is unknown to refold")
        return _LEAVES[described]
    kind, *rest = _items(described)
    if kind == "timestamp" and rest[0] in _UNITS:
        return pa.timestamp(rest[0], rest[1])
    if kind == "decimal":
        return pa.decimal128(*rest)
    if kind == "list":
        return pa.list_(_field(rest, depth + 1))
    if kind == "array" and type(rest[0]) is int and 0 <= rest[0] < 1 << 20:
        return pa.list_(_field(rest[1:], depth + 1), rest[0])
    if kind == "map":
        key, item = rest
        return pa.map_(_type(key, depth + 1), _type(item, depth + 1))
    if kind == "struct":
        return pa.struct([_field(one, depth + 1) for one in rest])
    raise FrameError("a type is unknown to refold")
