"""Protocol Buffers as JSON, by compiled descriptors: messages in ProtoJSON, with the names of their fields.

In ProtoJSON (protobuf.dev/programming-guides/json) a number of 64 bits is text, as JavaScript would round it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

MessageDecoder = Callable[[bytes], Any]
"""A message's bytes into what JSON has of it; raises `ValueError` where they are none."""


class MessageTypes:
    """The messages of some files."""

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        """Raises `ValueError` where they don't belong together."""
        self._pool = descriptor_pool.DescriptorPool()
        self._names: list[str] = []
        waiting = {file.name: file for file in files}
        self._file_names = {*waiting}
        for file in list(waiting.values()):
            self._add_file(file, waiting)

    def decoder_by_name(self, name: str) -> MessageDecoder:
        """A message by its full name; raises `ValueError` where there is none."""
        try:
            return _make_decoder(self._pool.FindMessageTypeByName(name))
        except KeyError:
            raise ValueError(f"there is no message {name} in it") from None

    def decoder_by_index(self, file: str, message_index: Sequence[int]) -> MessageDecoder:
        """A message of a file by its place: the second, and in it the first."""
        found = self._pool.FindFileByName(file)
        first, *inner = message_index
        message = list(found.message_types_by_name.values())[first]
        for number in inner:
            message = message.nested_types[number]
        return _make_decoder(message)

    def _add_file(self, file: Any, waiting: dict[str, Any]) -> None:
        """A file after those that it imports; what a compiler always has is at hand."""
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
    """What `protoc --include_imports --descriptor_set_out` writes; raises `ValueError`."""
    try:
        return MessageTypes(descriptor_pb2.FileDescriptorSet.FromString(data).file)
    except (DecodeError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error


def read_file_descriptor(data: bytes) -> Any:
    """One file's descriptor; raises `ValueError`."""
    try:
        return descriptor_pb2.FileDescriptorProto.FromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def split_message_index(data: bytes) -> tuple[tuple[int, ...], bytes]:
    """Which message of its file it is, and the message itself, as Confluent's wire format has it."""
    count, data = _read_zigzag(data)
    if count == 0:
        return (0,), data
    if not 0 < count <= len(data):
        raise ValueError(count)
    found = []
    for _ in range(count):
        number, data = _read_zigzag(data)
        found.append(number)
    return tuple(found), data


def _read_zigzag(data: bytes) -> tuple[int, bytes]:
    """A zigzag number, and what comes after it."""
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
