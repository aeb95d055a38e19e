"""Mutations of a valid file: the same seed gives the same bytes.

A campaign calls `mutations(healthy, count, seed)` for each format and feeds the results to a reader.
"""

import random
from collections.abc import Callable, Iterator, Sequence

Mutator = Callable[[bytearray, random.Random, Sequence[bytes]], bytearray]

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62)
_BYTES_THAT_MATTER = b'\x00\xff{}[]",:\\<>&;!*-\n\r\x1b'


def flip_bits(data: bytearray, random_: random.Random, others: Sequence[bytes]) -> bytearray:
    """Flip one to eight bits."""
    for _ in range(random_.randint(1, 8)):
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    return data


def set_bytes(data: bytearray, random_: random.Random, others: Sequence[bytes]) -> bytearray:
    """Overwrite one to sixteen bytes with random bytes, or bytes that matter to a parser."""
    for _ in range(random_.randint(1, 16)):
        value = (
            random_.choice(_BYTES_THAT_MATTER) if random_.random() < 0.5 else random_.randrange(256)
        )
        data[random_.randrange(len(data))] = value
    return data


def truncate(data: bytearray, random_: random.Random, others: Sequence[bytes]) -> bytearray:
    """Cut off the end."""
    return data[: random_.randrange(len(data))]


def cut_out(data: bytearray, random_: random.Random, others: Sequence[bytes]) -> bytearray:
    """Remove a stretch."""
    start = random_.randrange(len(data))
    del data[start : start + random_.randint(1, max(1, len(data) // 8))]
    return data


def repeat(data: bytearray, random_: random.Random, others: Sequence[bytes]) -> bytearray:
    """Repeat a stretch several times."""
    start = random_.randrange(len(data))
    stretch = data[start : start + random_.randint(1, 64)]
    place = random_.randrange(len(data))
    return data[:place] + stretch * random_.randint(1, 200) + data[place:]


def forge_length(data: bytearray, random_: random.Random, others: Sequence[bytes]) -> bytearray:
    """Overwrite an aligned integer of one to eight bytes with an extreme, or a nearby value."""
    width = random_.choice((1, 2, 4, 4, 4, 8))
    order = random_.choice(("little", "little", "big"))
    for _ in range(random_.randint(1, 3)):
        place = random_.randrange(max(1, len(data) - width)) // width * width
        was = int.from_bytes(data[place : place + width], order)  # type: ignore[arg-type]
        near = was + random_.choice((-64, -8, -1, 1, 8, 64, 4096))
        value = random_.choice((*_EXTREMES, near)) % (1 << (8 * width))
        data[place : place + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
    return data


def forge_varint(data: bytearray, random_: random.Random, others: Sequence[bytes]) -> bytearray:
    """Overwrite bytes with a long varint, as Avro, Protobuf and Thrift use them."""
    value, text = random_.choice(_EXTREMES[5:]), bytearray()
    while value > 0x7F:
        text.append(value & 0x7F | 0x80)
        value >>= 7
    text.append(value)
    place = random_.randrange(len(data))
    data[place : place + random_.choice((1, len(text)))] = text
    return data


def splice(data: bytearray, random_: random.Random, others: Sequence[bytes]) -> bytearray:
    """Insert a stretch of another file."""
    other = random_.choice(others) if others else bytes(data)
    start = random_.randrange(max(1, len(other)))
    stretch = other[start : start + random_.randint(1, max(1, len(other) // 2))]
    place = random_.randrange(len(data))
    end = place + (len(stretch) if random_.random() < 0.5 else 0)
    return data[:place] + stretch + data[end:]


def swap(data: bytearray, random_: random.Random, others: Sequence[bytes]) -> bytearray:
    """Exchange two stretches of equal length."""
    length = random_.randint(1, max(1, len(data) // 4))
    one, two = (random_.randrange(max(1, len(data) - length)) for _ in range(2))
    data[one : one + length], data[two : two + length] = (
        data[two : two + length],
        data[one : one + length],
    )
    return data


MUTATORS: tuple[Mutator, ...] = (
    *(flip_bits, set_bytes, truncate, cut_out, repeat, forge_length, forge_length, forge_varint),
    *(splice, swap),
)


def mutations(
    healthy: bytes, count: int, seed: int, others: Sequence[bytes] = ()
) -> Iterator[bytes]:
    """Yield `count` mutations of a file; `others` are files of the same format to splice with."""
    for number in range(count):
        random_ = random.Random(seed * 1_000_003 + number)
        data = bytearray(healthy)
        for _ in range(random_.choice((1, 1, 1, 2, 3))):
            if data:
                data = random_.choice(MUTATORS)(data, random_, others)
        yield bytes(data)
