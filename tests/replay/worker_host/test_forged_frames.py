"""A forged or broken frame gives one error sentence: no crash, no hang, no memory growth."""

import io
import json
import random
import signal
import stat
import sys
import textwrap
from collections.abc import Iterator

import pytest

from replay import fold
from replay.event_fold.fold_run import FoldLimits
from replay.worker.protocol import wire
from replay.worker_host import worker_group, worker_process
from replay.worker_host.batch_result import decode_batch_result
from replay.worker_host.worker_frames import BrokenFrameError, Frame, receive_frame
from storage.errors import ProjectionError
from tests.support.projection_studio import Studio

pytestmark = pytest.mark.real_worker

CASES = 120
"""Mutations of each recorded frame."""

PROJECTIONS = {
    "plain": "def apply(state, event):\n    state['n'] = event.offset\n    state['é'] = 'ü' * 3\n",
    "routed": """
        def key(event): return [event.stream, "all"]
        def apply(state, event, key):
            print(key)
            state[str(event.offset)] = key
            if event.offset == 2: raise ValueError("so")
        """,
    "in parts": """
        def initial(key): return {"items": {f"i{n}": {"n": n, "text": "x" * 200} for n in range(400)}}
        def apply(state, event): state["items"]["i7"]["n"] += 1
        """,
    "telling": """
        import uuid
        from types import SimpleNamespace
        INVARIANTS = {"small": lambda state: state["n"] < 2}
        def upcast(event):
            return SimpleNamespace(type="New", offset=event.offset, stream=event.stream, data={})
        def on_New(state, event):
            state["n"] = event.offset
            state["id"] = str(uuid.uuid4())
            if event.offset == 3:
                try: open("x", "w")
                except OSError: pass
        """,
}


@pytest.fixture(scope="module", params=PROJECTIONS)
def recorded(request, tmp_path_factory):
    """Frames from a real worker, and the events of each batch result."""
    from tests.support.projection_studio import Studio

    studio = Studio(tmp_path_factory.mktemp("frames"))
    studio.events(*[("ab"[n % 2], "T", {"n": n}) for n in range(6)])
    studio.file("p.py", textwrap.dedent(PROJECTIONS[request.param]))
    frames: list[Frame] = []
    batches = {}

    def receive(*arguments):
        frames.append(receive_frame(*arguments))
        return frames[-1]

    def understood(frame, events, **named):
        batches[id(frame.parts)] = events
        return decode_batch_result(frame, events, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(worker_process, "receive_frame", receive)
        patched.setattr(worker_group, "decode_batch_result", understood)
        studio.fold("p.py")
    return [(frame, batches.get(id(frame.parts))) for frame in frames]


def _bytes(header, parts, counted=None) -> bytes:
    text = json.dumps({**header, "parts": counted or [len(part) for part in parts]}).encode()
    return len(text).to_bytes(4, "little") + text + b"".join(parts)


_STRANGE = (None, -1, 2**40, 2**70, 1.5, "x", "\ud800", [], {}, True, [None], {"a": {}}, [[[]]])


def _mutated(frame: Frame, drawn: random.Random) -> bytes:  # noqa: PLR0912 - one branch per mutation
    """Return the frame with one random fault."""
    header = {name: value for name, value in frame.header.items() if name != "parts"}
    parts = list(frame.parts)
    whole = _bytes(header, parts)
    way = drawn.randrange(8)
    if way == 0:  # bytes
        forged = bytearray(whole)
        for _ in range(drawn.choice((1, 1, 2, 8))):
            forged[drawn.randrange(len(forged))] = drawn.randrange(256)
        return bytes(forged)
    if way == 1:  # cut short
        return whole[: drawn.randrange(len(whole))]
    if way == 2:  # the header's length
        return drawn.choice((0, 1, 2**31, 2**32 - 1)).to_bytes(4, "little") + whole[4:]
    if way == 3 and parts:  # lengths of parts
        lengths: list[object] = [len(part) for part in parts]
        lengths[drawn.randrange(len(lengths))] = drawn.choice(
            (-1, 2**31, 2**62, 2**70, "1", None, 1.5)
        )
        return _bytes(header, parts, lengths)
    if way == 4:  # a member
        name = drawn.choice(list(header))
        forged_header = {**header, name: drawn.choice(_STRANGE)}
        if drawn.random() < 0.3:
            del forged_header[name]
        return _bytes(forged_header, parts)
    if way == 5 and parts:  # numbers in a part
        at = drawn.randrange(len(parts))
        forged = bytearray(parts[at])
        if forged:
            place = drawn.randrange(0, len(forged), 4) if len(forged) >= 4 else 0
            forged[place : place + 4] = drawn.choice(
                (b"\xff" * 4, b"\x7f" * 4, b"\0" * 4, b"\xff\xff\xff\x7f")
            )
        parts[at] = bytes(forged)
        return _bytes(header, parts)
    if way == 6 and parts:  # parts added, taken and exchanged
        at = drawn.randrange(len(parts))
        parts = drawn.choice(([*parts, b"more"], parts[:at] + parts[at + 1 :], parts[::-1]))
        return _bytes(header, parts)
    inner = [name for name, value in header.items() if isinstance(value, list) and value]
    if inner:
        name = drawn.choice(inner)
        rows = [dict(one) if isinstance(one, dict) else one for one in header[name]]
        if isinstance(rows[0], dict):
            rows[0][drawn.choice(list(rows[0]))] = drawn.choice(_STRANGE)
        else:
            rows[0] = drawn.choice(_STRANGE)
        return _bytes({**header, name: rows}, parts)
    return whole + b"trailing"


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fail a case that doesn't end."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_mutated_frames_are_refused_or_valid(recorded, bounded):
    drawn = random.Random(11)
    refused = 0
    for frame, events in recorded:
        for _ in range(CASES):
            message = "The worker sent nothing more"
            try:
                heard = receive_frame(io.BytesIO(_mutated(frame, drawn)), 1 << 26)
                if heard.kind == "folded" and events is not None:
                    found = decode_batch_result(heard, events, is_routed=frame.header["routed"])
                    found.changes.validate(full=True)
                    assert all(
                        state is None or json.loads(state or "0") is not Ellipsis
                        for state in found.changes["state"].to_pylist()
                    )
            except BrokenFrameError as error:
                refused += 1
                message = error.message
            except wire.ConnectionClosedError:
                refused += 1
            assert message.startswith("The worker sent ")
            assert "\n" not in message
    assert refused > len(recorded) * CASES / 3


_FORGER = """
import json, os, struct, sys, time
spec = json.loads(sys.argv[2])
out = spec["outgoing"]
def send(header, parts=(), counted=None):
    text = json.dumps(dict(header, parts=counted or [len(p) for p in parts])).encode()
    os.write(out, struct.pack("<I", len(text)) + text + b"".join(parts))
READY = dict(kind="ready", name="p", files={}, python="x", invariants={}, careful=False, routed=False,
             shared=True, renews=False, merges=False)
FOLDED = dict(kind="folded", count=1, failures=[], turns=[], skipped={}, upcasts=[], printed=[],
              routed=False, reads=[], decided=[], called=0)
def row(text, previous=-1, at=0):
    return (struct.pack("i", at), struct.pack("i", len(text)), text, struct.pack("q", previous))
def mark(offset):
    os.pwrite(spec["mark"], struct.pack("qq", offset, 0), 0)
mark(0)
WAY
time.sleep(600)
"""
WAYS = {
    "silence": "send(READY)",
    "silence in a header": "os.write(out, b'\\xff\\x00\\x00\\x00{')",
    "silence in a part": "send(READY); send(FOLDED, (b'x',), [100])",
    "a header without an end": "os.write(out, b'\\xff\\xff\\xff\\xff' + b' ' * 1000)",
    "a header of 400 MB": "os.write(out, struct.pack('<I', 400 << 20))\nwhile 1: os.write(out, b' ' * 9999)",
    "a part of many terabytes": "send(READY); send(FOLDED, (), [1 << 45])",
    "no JSON": "os.write(out, struct.pack('<I', 5) + b'hello')",
    "another kind": "send(dict(kind='merged', merged=[]))",
    "an unknown kind": "send(dict(kind='x' * 100000))",
    "ready without members": "send(dict(kind='ready'))",
    "ready without an end": "while True: send(READY)",
    "questions without an end": "send(READY)\nwhile True: send(dict(kind='ask', keys=['a'], events=False))",
    "more events than there are": "send(READY); send(dict(FOLDED, count=10**12), row(b'{}'))",
    "a state that isn't JSON": "send(READY); send(FOLDED, row(b'{]'))",
    "a state that isn't text": "send(READY); send(FOLDED, row(b'\"\\xff\"'))",
    "a change of no event": "send(READY); send(FOLDED, row(b'{}', at=7))",
    "a change after itself": "send(READY); send(FOLDED, row(b'{}', previous=0))",
    "a failure of no event": "send(READY); send(dict(FOLDED, failures=[dict(offset=9, key='a', type='T',"
    " error='e', traceback='t')]), row(b'{}'))",
    "a call of no kind": "send(READY); send(dict(kind='call', offset=0, key='a', event_id=None,"
    " occurrence=0, call='x', port='p', operation='o'), (b'null',))",
    "an end at once": "mark(2**60); sys.exit(7)",
    "nested without an end": "os.write(out, struct.pack('<I', 100000) + b'[' * 100000)",
}


@pytest.mark.parametrize("name", WAYS)
def test_a_worker_with_another_protocol_is_one_error_sentence(studio: Studio, bounded, name):
    studio.events(("a", "T", {}))
    studio.file("p.py", "def apply(state, event): state['n'] = 1\n")
    python = studio.folder / "python"
    python.write_text(f"#!{sys.executable}\n" + _FORGER.replace("WAY", WAYS[name]))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(ProjectionError) as caught:
        fold.fold_projection(
            studio.workspace, studio.refer("p.py", str(python)), limits=FoldLimits(1, 2)
        )
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
