"""Protocol Buffers messages: a placed order, defined in two files, with a nested message."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

_TYPE = descriptor_pb2.FieldDescriptorProto


def _field(name: str, number: int, kind: int, of: str = "") -> Any:
    return _TYPE(
        name=name, number=number, type=kind, label=_TYPE.LABEL_OPTIONAL, type_name=of or None
    )


MONEY = descriptor_pb2.FileDescriptorProto(
    name="shop/money.proto",
    package="shop",
    syntax="proto3",
    message_type=[
        descriptor_pb2.DescriptorProto(name="Money", field=[_field("cents", 1, _TYPE.TYPE_INT32)])
    ],
)
PLACED = descriptor_pb2.FileDescriptorProto(
    name="shop/placed.proto",
    package="shop",
    syntax="proto3",
    dependency=["shop/money.proto", "google/protobuf/timestamp.proto"],
    message_type=[
        descriptor_pb2.DescriptorProto(
            name=name,
            field=[
                _field("order_id", 1, _TYPE.TYPE_INT64),
                _field("total", 2, _TYPE.TYPE_MESSAGE, ".shop.Money"),
                _field("time", 3, _TYPE.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
            ],
            nested_type=[
                descriptor_pb2.DescriptorProto(
                    name="Line", field=[_field("name", 1, _TYPE.TYPE_STRING)]
                )
            ],
        )
        for name in ("Placed", "Changed")
    ],
)

_pool = descriptor_pool.DescriptorPool()
_stamp = descriptor_pb2.FileDescriptorProto()
timestamp_pb2.DESCRIPTOR.CopyToProto(_stamp)
for _file in (_stamp, MONEY, PLACED):
    _pool.Add(_file)


def _made(message: str, **fields: Any) -> bytes:
    kind = message_factory.GetMessageClass(_pool.FindMessageTypeByName(message))
    return bytes(kind(**fields).SerializeToString())


def placed(order: int, cents: int) -> bytes:
    """Return an encoded `shop.Placed` message."""
    time = {"seconds": 1767323045}
    return _made("shop.Placed", order_id=order, total={"cents": cents}, time=time)


def line(name: str) -> bytes:
    """Return an encoded `shop.Placed.Line` message."""
    return _made("shop.Placed.Line", name=name)


def compiled(*, with_imports: bool = True) -> bytes:
    """Return what `protoc --descriptor_set_out` writes, by default with `--include_imports`."""
    files = [_stamp, MONEY, PLACED] if with_imports else [PLACED]
    return bytes(descriptor_pb2.FileDescriptorSet(file=files).SerializeToString())
