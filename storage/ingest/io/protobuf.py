"""Decode Protocol Buffers messages with compiled descriptors to ProtoJSON, with the original field names.

In ProtoJSON (protobuf.dev/programming-guides/json) a 64-bit integer is text, because JavaScript would round it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

MessageDecoder = Callable[[bytes], Any]
"""Turns a message's bytes into a JSON value; raises `ValueError` if they aren't such a message."""


class MessageTypes:
    """The message types of a set of files."""

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        """Add the files; raises `ValueError` if they don't fit together."""
        self._pool = descriptor_pool.DescriptorPool()
        self._names: list[str] = []
        waiting = {file.name: file for file in files}
        self._file_names = {*waiting}
        for file in list(waiting.values()):
            self._add_file(file, waiting)

    def decoder_by_name(self, name: str) -> MessageDecoder:
        """Return the decoder of a message by its full name; raises `ValueError` if none has it."""
        try:
            return _make_decoder(self._pool.FindMessageTypeByName(name))
        except KeyError:
            raise ValueError(f"it has no message {name}") from None

    def decoder_by_index(self, file: str, message_index: Sequence[int]) -> MessageDecoder:
        """Return the decoder of a message by its index in a file.

        The index (1, 0) means the second message of the file, and in it the first nested one.
        """
        descriptor = self._pool.FindFileByName(file)
        first, *inner = message_index
        message = list(descriptor.message_types_by_name.values())[first]
        for number in inner:
            message = message.nested_types[number]
        return _make_decoder(message)

    def _add_file(self, file: Any, waiting: dict[str, Any]) -> None:
        """Add a file after the files that it imports; the standard files come from the library."""
        if waiting.pop(file.name, None) is None:
            return
        for name in file.dependency:
            if name in waiting:
                self._add_file(waiting[name], waiting)
            elif name not in self._file_names:
                self._file_names.add(name)
                standard = descriptor_pool.Default().FindFileByName(name)
                standard_file = descriptor_pb2.FileDescriptorProto()
                standard.CopyToProto(standard_file)
                self._pool.Add(standard_file)
        try:
            self._pool.Add(file)
        except TypeError as error:
            raise ValueError(str(error)) from error


def read_descriptor_set(data: bytes) -> MessageTypes:
    """Return the messages of a file written by `protoc --include_imports --descriptor_set_out`.

    Raises `ValueError` if the bytes aren't a descriptor set.
    """
    try:
        return MessageTypes(descriptor_pb2.FileDescriptorSet.FromString(data).file)
    except (DecodeError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error


def read_file_descriptor(data: bytes) -> Any:
    """Return one file's descriptor; raises `ValueError` if the bytes aren't one."""
    try:
        return descriptor_pb2.FileDescriptorProto.FromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def split_message_index(data: bytes) -> tuple[tuple[int, ...], bytes]:
    """Split a payload in Confluent's wire format into the message's index in its file and its bytes.

    Raises `ValueError` if the payload doesn't begin with a message index.
    """
    count, data = _read_zigzag(data)
    if count == 0:
        return (0,), data
    if not 0 < count <= len(data):
        raise ValueError(count)
    index = []
    for _ in range(count):
        number, data = _read_zigzag(data)
        index.append(number)
    return tuple(index), data


def _read_zigzag(data: bytes) -> tuple[int, bytes]:
    """Return the zigzag number at the beginning, and the bytes after it."""
    number = 0
    for n, byte in enumerate(data[:10]):
        number |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), data[n + 1 :]
    raise ValueError("no number")


def _make_decoder(message: Any) -> MessageDecoder:
    kind = message_factory.GetMessageClass(message)

    def decode(data: bytes) -> Any:
        try:
            return json_format.MessageToDict(
                kind.FromString(data), preserving_proto_field_name=True
            )
        except (DecodeError, json_format.Error) as error:
            raise ValueError(str(error)) from error

    return decode
