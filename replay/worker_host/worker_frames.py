"""Frames from a worker, checked before anything uses them.

A worker runs untrusted code, which can write anything into the worker's pipe. So this side reads a frame
in pieces, up to a limit; checks the members of its header and their types; and refuses a kind of frame
that isn't expected now. Each fault is a `BrokenFrameError` with one sentence. `batch_result` checks the
columns of a batch result.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, NotRequired, TypedDict

import msgspec

from replay.worker.protocol import wire
from storage.errors import ProjectionError

MOST_BYTES = 2 << 30
"""Largest frame; a worker's own memory limit applies to its frames as well."""
_MOST_HEADER_BYTES = 256 << 20
_PIECE_BYTES = 1 << 20
_LENGTH_BYTES = 4

Offset = Annotated[int, msgspec.Meta(ge=-2, le=2**62)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Small = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
Number = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
Text = str | None


class BrokenFrameError(ProjectionError):
    """A worker sent a frame that no worker of refold sends."""

    def __init__(self, what: str) -> None:
        """`what` ends the sentence `The worker sent …`."""
        super().__init__(
            f"The worker sent {what}, so its results can't be trusted; what was folded before is kept."
        )


class _Failure(TypedDict):
    offset: Offset
    key: Text
    type: Text
    error: str
    traceback: str


class _Turn(TypedDict):
    offset: Offset
    invariant: str
    key: Text
    broken: bool
    error: Text


class _Upcast(TypedDict):
    offset: Offset
    stream: Text
    type: Text
    version: Text
    data: Text


class _Printed(TypedDict):
    offset: Offset
    place: Small
    text: str


class _Read(TypedDict):
    offset: Offset
    key: Text
    read: list[str]


class _Decided(TypedDict):
    offset: Offset
    key: Text
    ordinal: Small
    call: Number | None
    kind: Text
    port: Text
    operation: Text
    request: Text
    response: Text
    decision: Text
    reason: Text
    stack: Text


class _Probed(TypedDict):
    types: list[Text]
    count: Count
    offset: Offset
    key: str


class _Ready(TypedDict):
    name: NotRequired[str]
    files: NotRequired[dict[str, str]]
    python: NotRequired[str]
    invariants: NotRequired[dict[str, Text]]
    own: NotRequired[Text]
    careful: NotRequired[bool]
    routed: NotRequired[bool]
    shared: NotRequired[bool]
    renews: NotRequired[bool]
    merges: NotRequired[bool]


class _Folded(TypedDict):
    count: Count
    failures: list[_Failure]
    turns: list[_Turn]
    skipped: dict[str, Count]
    upcasts: list[_Upcast]
    printed: list[_Printed]
    routed: bool
    reads: list[_Read]
    decided: list[_Decided]
    called: Count


class _Ask(TypedDict):
    keys: NotRequired[list[str]]
    key: NotRequired[str]
    routed: NotRequired[bool]
    events: bool


class _Call(TypedDict):
    offset: Offset
    key: Text
    event_id: Text
    occurrence: Count
    call: str | None
    port: NotRequired[str]
    operation: NotRequired[str]
    method: NotRequired[str]
    url: NotRequired[str]
    headers: NotRequired[list[tuple[str, str]]]
    timeout: NotRequired[float | None]


class _Done(TypedDict):
    plain: NotRequired[bool | None]
    probed: NotRequired[list[_Probed]]


class _Full(TypedDict):
    memory: Number


class _Broken(TypedDict):
    what: str


class _Error(TypedDict):
    error: str


class _Unusable(TypedDict):
    error: str
    traceback: str


class _Routes(TypedDict):
    routes: list[list[str]]


class _Merged(TypedDict):
    merged: list[dict[str, str]]


class _Unpacked(TypedDict):
    lengths: list[Number]
    error: str


class _Draw(TypedDict):
    draw: Count
    columns: list[str]


class _Stepped(TypedDict):
    key: str
    before: Text
    after: Text
    traceback: Text


class _NoHandler(TypedDict):
    type: Text


class _NoKey(TypedDict):
    keys: list[str]


class _Nothing(TypedDict):
    pass


_MEMBERS: Mapping[str, Any] = {
    "ready": _Ready,
    "folded": _Folded,
    "ask": _Ask,
    "call": _Call,
    "done": _Done,
    "full": _Full,
    "not plain": _Nothing,
    "broken": _Broken,
    "unusable": _Unusable,
    "routes": _Routes,
    "merged": _Merged,
    "unpacked": _Unpacked,
    "draw": _Draw,
    "raised": _Error,
    "projected": _Nothing,
    "stepped": _Stepped,
    "left": _Nothing,
    "interrupted": _Nothing,
    "no handler": _NoHandler,
    "no key": _NoKey,
    "no keys": _Error,
    "no debugpy": _Error,
    "no port": _Error,
}
_PARTS = {"call": 1, "unpacked": 1, "projected": 1}
"""Number of parts of frames of these kinds; `batch_result` counts those of a batch result."""
_READY = {
    "fold": ("name", "files", "python", "invariants", "careful")
    + ("routed", "shared", "renews", "merges"),
    "projection": ("files", "python", "invariants", "own"),
    "decoder": (),
}
"""Members that a frame `ready` must have, by the worker's purpose."""


class _Kind(msgspec.Struct):
    kind: str
    parts: list[Count]


@dataclass(frozen=True)
class Frame:
    """One message of a worker."""

    header: Mapping[str, Any]
    parts: list[bytes]

    @property
    def kind(self) -> str:
        return str(self.header["kind"])

    def expected(self, *kinds: str) -> "Frame":
        """Return this frame; raises `BrokenFrameError` if it is of another kind."""
        if self.kind not in kinds:
            raise BrokenFrameError(f"a frame {self.kind!r} instead of {' or '.join(kinds)}")
        return self

    def ready_for(self, purpose: str) -> "Frame":
        """Return this frame `ready`; raises `BrokenFrameError` if it lacks a member for the purpose."""
        self.expected("ready")
        missing = [name for name in _READY[purpose] if name not in self.header]
        if missing:
            raise BrokenFrameError(f"a frame 'ready' without {missing[0]!r}")
        return self


def receive_frame(stream: BinaryIO, most_bytes: int = MOST_BYTES) -> Frame:
    """Read one frame; raises `BrokenFrameError`, and `wire.ConnectionClosedError` at the end."""
    most = min(most_bytes, MOST_BYTES)
    size = int.from_bytes(_read_exactly(stream, _LENGTH_BYTES), "little")
    if size > min(most, _MOST_HEADER_BYTES):
        raise BrokenFrameError(f"a frame whose header has {size:,} bytes")
    header = _header(_read_exactly(stream, size))
    total = sum(header["parts"])
    if total > most:
        raise BrokenFrameError(f"a frame of {total:,} bytes")
    return Frame(header, [_read_exactly(stream, length) for length in header["parts"]])


def _header(text: bytes) -> dict[str, Any]:
    """Return the members of a header, with their types checked; drop unknown ones."""
    begun = _decode_members(text, _Kind)
    members = _MEMBERS.get(begun.kind)
    if members is None:
        raise BrokenFrameError(f"a frame of the unknown kind {begun.kind[:40]!r}")
    found: dict[str, Any] = {
        **_decode_members(text, members),
        "kind": begun.kind,
        "parts": begun.parts,
    }
    expected = _PARTS.get(begun.kind, len(begun.parts))
    if len(begun.parts) != expected:
        raise BrokenFrameError(
            f"a frame {begun.kind!r} with {len(begun.parts)} parts instead of {expected}"
        )
    if begun.kind == "call":
        _check_call(found)
    return found


def _decode_members(text: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise BrokenFrameError(f"a frame with an invalid header ({error})") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_with_surrogates(text, kind)


def _decode_with_surrogates(text: bytes, kind: Any) -> Any:
    """Decode JSON that has halves of surrogate pairs, which texts of handlers may hold."""
    try:
        return msgspec.convert(json.loads(text), kind)
    except (ValueError, RecursionError) as error:
        reason = "isn't JSON" if not isinstance(error, msgspec.ValidationError) else str(error)
        raise BrokenFrameError(f"a frame with an invalid header ({reason})") from None


def _check_call(header: Mapping[str, Any]) -> None:
    required: tuple[str, ...] = ("port", "operation")
    if "method" in header:
        required = ("url", "headers", "timeout")
    elif header["call"] not in ("query", "command"):
        raise BrokenFrameError("a call that is neither a query nor a command")
    missing = [name for name in required if name not in header]
    if missing:
        raise BrokenFrameError(f"a call without {missing[0]!r}")


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Read exactly `size` bytes; allocates memory only for bytes that have arrived."""
    if size <= _PIECE_BYTES:
        data = stream.read(size)
        if len(data) != size:
            raise wire.ConnectionClosedError
        return data
    pieces = bytearray()
    while len(pieces) < size:
        piece = stream.read(min(_PIECE_BYTES, size - len(pieces)))
        if not piece:
            raise wire.ConnectionClosedError
        pieces += piece
    return bytes(pieces)


def answer_recall_request(frame: Frame, answer: Callable[[Frame], Any], count: int) -> Any:
    """Return the answer to a frame `ask`, the `count`th in a row; a worker asks once per batch.

    Raises `BrokenFrameError` if a worker asks too often.
    """
    if count > _MOST_ASKED or "keys" not in frame.header:
        raise BrokenFrameError("the same question too often")
    return answer(frame)


_MOST_ASKED = 16
