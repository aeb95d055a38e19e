"""The worker's main loop: one frame in, one frame out, until the parent closes the pipe.

What a handler prints goes to the standard streams, which are not the protocol's.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import signal
import struct
import sys
import threading
import time
from array import array
from typing import Any, BinaryIO, Dict, Iterator, List, Optional

from .environment import imported_code, imports, memory_limit
from .environment.environment import Surroundings
from .fold import contract, fast_path, fold_loop, payload_decoder, program, relation_function
from .fold.aggregates import AggregateError
from .fold.documents import NotPlainError, Share
from .fold.probes import Probe
from .fold.result import Folding, OutOfMemoryError, Result
from .protocol import tracebacks, user_code, wire
from .protocol.channel import Line
from .protocol.event import Batch, decoder
from .protocol.line_protocol import ProtocolError, Speaker
from .protocol.printed import Printed

LOADING = -1
"""What the page of the mark says before the first event; before that, not even Python has begun."""
_MANY = 20_000
"""Documents that may take any room: fewer workers hold no fewer of them."""
_COOLED = 8
"""What has not changed for long takes less room after each so manieth part of it that is taken."""
_COLLECTED = 8
"""Every so manieth batch is looked at by the collector, until it finds something."""


def main() -> None:
    """Run with the parent's specification, a JSON object, as the only argument."""
    spec = json.loads(sys.argv[1])
    sys.argv = [spec["reference"]]
    incoming = os.fdopen(spec["incoming"], "rb", buffering=1 << 20)
    outgoing = os.fdopen(spec["outgoing"], "wb", buffering=1 << 20)
    answers = os.fdopen(spec["answers"], "rb", buffering=1 << 20)
    mark = memoryview(mmap.mmap(spec["mark"], mmap.PAGESIZE)).cast("q")
    os.close(spec["mark"])
    mark[0] = LOADING
    threading.Thread(target=follow_parent, args=(os.getppid(),), daemon=True).start()
    imports.hide_ours()
    imported_code.watch()
    sys.path.insert(0, spec["cwd"])
    printed = Printed(mark)
    printed.listen()
    try:
        if spec["memory"]:
            memory_limit.limit(spec["memory"])
        session = _session(spec, printed, mark, incoming, outgoing, answers)
    except BaseException as error:
        wire.send(outgoing, {"kind": "unusable", **told(error)})
        return
    try:
        session.run()
    except (wire.ClosedError, BrokenPipeError):
        return


def follow_parent(parent: int) -> None:
    """End with the parent: a handler that never returns doesn't notice that its pipes are closed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if os.getpgrp() == os.getpid():
        # And with this process a program that it has started.
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _session(
    spec: Dict[str, Any],
    printed: Printed,
    mark: Any,
    incoming: BinaryIO,
    outgoing: BinaryIO,
    answers: BinaryIO,
) -> Any:
    """What is done for the parent: a fold, or documents of all events."""
    line = Line(outgoing, answers)
    around = Surroundings(mark, line, spec)
    if spec["unpacks"]:
        around.close()
        return payload_decoder.Session(
            payload_decoder.load(spec["reference"]), mark, incoming, outgoing
        )
    if spec["projects"]:
        around.close()
        asked = relation_function.load(spec["reference"])
        ready = {
            "files": imported_code.hashes(user_code.files()),
            "python": fold_loop.runtime(),
            **asked.declared,
        }
        return relation_function.Session(asked, ready, mark, incoming, outgoing, answers)
    return _Session(_folder(spec, mark, around), around, printed, spec, incoming, line)


def _folder(spec: Dict[str, Any], mark: Any, around: Surroundings) -> Folding:
    """What folds: the user's Python code in this process, or a program that this one speaks to."""
    if spec["command"]:
        # Nobody knows when a program reads its files: they have to be the same before and after.
        files = program.files(spec["command"])
        imported_code.note_files(files)
        started = Speaker(spec["command"])
        around.close()
        folder = program.ProgramFolder(started, mark, spec["name"], resuming=spec["resuming"])
        imported_code.note_files(files)
        return folder
    around.enter()
    around.close()
    projection = contract.load(spec["reference"], around.gateway)
    # Decimals look like numbers in JSON and come back as floats, so they are never plain.
    careful = spec["careful"] or projection.decimals
    decode = decoder(decimals=projection.decimals)
    share = Share(spec["part"], spec["parts"])
    probe = Probe(spec["probe"]) if spec["probe"] else None
    return fast_path.folder(
        projection, decode, mark, around.calls, careful=careful, share=share, probe=probe
    )


class _Session:
    def __init__(
        self,
        folder: Folding,
        around: Surroundings,
        printed: Printed,
        spec: Dict[str, Any],
        incoming: BinaryIO,
        line: Line,
    ) -> None:
        self._folder = folder
        self._around = around
        self._printed = printed
        self._memory = spec["memory"]
        self._room = spec["room"]
        self._empty = self._cooled = memory_limit.taken()
        self._resuming = spec["resuming"]
        self._plain = spec["plain"] or folder.restores
        self._incoming, self._line = incoming, line

    def run(self) -> None:
        self._ready()
        # The collector would walk through all documents again and again. It looks at what a batch
        # has made, at every one if that had cycles in it, and what lives on is put out of its sight.
        gc.disable()
        batches, cycles = 0, False
        while True:
            try:
                header, parts = wire.receive(self._incoming)
            except wire.ClosedError:
                break
            if header["kind"] == "anew":
                self._folder.anew()
                continue
            if header["kind"] == "merge":
                merged = self._folder.merged(header["versions"])
                self._line.tell({"kind": "merged", "merged": merged})
                continue
            batch = Batch(header, parts, self._folder.decode)
            if header["kind"] == "route":
                self._line.tell({"kind": "routes", "routes": self._folder.routes(batch)})
                self._printed.taken()
                self._around.taken()
                continue
            if "only" in header:
                self._folder.only = set(header["only"])
            if "first_change" in header:
                self._folder.count_from(header["first_change"])
            try:
                if self._resuming:
                    self._recall(batch)
                    # What was printed for it was told when it was handled for the first time.
                    self._printed.taken()
                    self._around.taken()
                self._tell(batch, self._folder.fold(batch))
                del batch
                if cycles or batches % _COLLECTED == 0:
                    cycles = gc.collect(0) > 0
                batches += 1
                gc.freeze()
                if self._full():
                    return
            except NotPlainError:
                self._line.tell({"kind": "not plain"})
                return
            except ProtocolError as error:
                self._line.tell({"kind": "broken", "what": str(error)})
                return
            except (OutOfMemoryError, MemoryError):
                what = f"used up the {self._memory / 1e6:,.0f} MB that it may take (--memory)"
                self._line.tell({"kind": "broken", "what": what})
                return

        try:
            told = {"plain": self._folder.surely_plain(), "probed": self._folder.probed()}
        except NotPlainError:
            self._line.tell({"kind": "not plain"})
        else:
            self._line.tell({"kind": "done", **told})

    def _full(self) -> bool:
        """Whether there is no room for more documents, which then is told."""
        taken = memory_limit.taken() if self._room and self._folder.held > _MANY else 0
        if taken > self._cooled + self._room // _COOLED:
            self._folder.cool()
            self._cooled = taken
        if taken <= self._room:
            return False
        self._line.tell({"kind": "full", "memory": taken - self._empty})
        return True

    def _ready(self) -> None:
        folder = self._folder
        told: Dict[str, Any] = {
            "name": folder.name,
            "files": imported_code.hashes(folder.files()),
            "python": folder.runtime,
        }
        told.update(
            invariants=folder.declared,
            careful=folder.careful,
            routed=folder.routed,
            shared=folder.shared,
            renews=folder.renews,
            merges=folder.merges,
        )
        self._line.tell({"kind": "ready", **told})

    def _recall(self, batch: Batch) -> None:
        """Ask for the documents that the batch reaches and that this process hasn't met."""
        missing = self._folder.missing(batch)
        if not missing:
            return
        asked = {"kind": "ask", "keys": missing, "events": not self._plain}
        header, parts = self._line.ask(asked)
        take_up(self._folder, header, parts, missing)

    def _tell(self, batch: Batch, result: Result) -> None:
        states = result.states
        lengths = _lengths(states)
        header = {
            "kind": "folded",
            "count": batch.count,
            "failures": result.failures,
            "turns": result.turns,
            "skipped": result.skipped,
            "upcasts": result.upcasts,
            "printed": self._printed.taken(),
            "routed": self._folder.routed,
        }
        rows, previous = _packed("i", result.rows), _packed("q", result.previous)
        parts: List[Any] = [rows, lengths, _joined(states), previous]
        if self._folder.routed:
            parts += [*_coded(result.keys), result.route_rows, *_coded(result.route_keys)]
            parts += [result.places, result.route_places]
        told = result.parts
        if told.paths:
            paths = "\0".join(told.paths).encode()  # NUL is in no path
            parts += [_packed("i", told.rows), paths, told.placed, told.depths, told.numbers]
            parts += [_lengths(told.states), _joined(told.states)]
        calls, header["reads"] = self._around.taken()
        header["decided"] = calls.decided
        header["called"] = len(calls.numbers)
        if calls.numbers:
            parts += [calls.rows, calls.ordinals, calls.numbers, calls.codes, *_coded(calls.keys)]
        self._line.tell(header, tuple(parts))


def take_up(folder: Any, header: Any, parts: List[bytes], keys: List[str]) -> None:
    """Take documents up from what the parent answered: their states, or their own events."""
    changes: Dict[str, int] = header["changes"]
    if header["kind"] == "events":
        folder.refold(Batch(header, parts, folder.decode), keys, changes)
    else:
        for (key, change), text in zip(changes.items(), _texts(parts[0], parts[1])):
            folder.resume(key, change, text)
        for said, lengths, blob in zip(header["in_parts"], parts[2::2], parts[3::2]):
            rows = zip(said["paths"], map(tuple, said["places"]), _texts(lengths, blob))
            folder.resume(said["key"], said["change"], None, (rows, said["following"]))
    folder.unborn(keys)


def _packed(kind: str, numbers: List[int]) -> bytes:
    """Numbers as an array of that kind holds them, made in half the time that an array takes."""
    return struct.pack("%d%s" % (len(numbers), kind), *numbers)


def _lengths(texts: List[Optional[bytes]]) -> Any:
    """As they are told; -1 stands for what isn't there."""
    try:
        return array("i", map(len, texts))  # type: ignore[arg-type]
    except TypeError:
        return array("i", [-1 if text is None else len(text) for text in texts])


def _joined(texts: List[Optional[bytes]]) -> bytes:
    try:
        return b"".join(texts)  # type: ignore[arg-type]
    except TypeError:
        return b"".join([text for text in texts if text is not None])


def _texts(lengths: bytes, blob: bytes) -> Iterator[Optional[bytes]]:
    """Texts of these lengths, one after the other; None where there is none."""
    numbers = array("i")
    numbers.frombytes(lengths)
    at = 0
    for length in numbers:
        yield None if length < 0 else blob[at : at + length]
        at += max(length, 0)


def _coded(texts: List[Any]) -> List[Any]:
    """Texts as the JSON list of the distinct ones and the code of each."""
    codes: Dict[str, int] = {}
    numbers = array("i", [codes.setdefault(text, len(codes)) for text in texts])
    return [json.dumps(list(codes)).encode(), numbers]


def told(error: BaseException) -> Dict[str, Any]:
    """Why a projection can't be loaded."""
    if isinstance(
        error,
        (contract.ContractError, AggregateError, ProtocolError, relation_function.ProjectingError),
    ):
        return {"error": str(error), "traceback": ""}
    # A syntax error's summary draws its line; what it says of itself names the file.
    said = str(error) if isinstance(error, SyntaxError) else ""
    summary = f"{type(error).__name__}: {said}" if said else tracebacks.summary(error)
    where = "" if said else tracebacks.place(error, user_code.files())
    first = (summary.splitlines() or [""])[0] + (f" ({where})" if where else "")
    return {"error": first, "traceback": tracebacks.user_traceback(error)}
