"""`project(events)`: a user's function from a Polars LazyFrame of all events to a frame of documents.

The events come from the parent as they are drawn: those columns only that Polars asks for, in
Arrow's stream format.
"""

from __future__ import annotations

import importlib
import inspect
import queue
import threading
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Dict, Iterator, List, Optional

from ..protocol import tracebacks, wire
from ..protocol.text_limits import carried
from . import contract


class ProjectingError(Exception):
    """The function can't be asked; the message is a sentence for a person."""


class Asked:
    """The user's function, and what is declared beside it."""

    def __init__(self, function: Any, name: str, declared: Dict[str, Any]) -> None:
        self.function = function
        self.name = name
        self.declared = declared


def load(reference: str) -> Asked:
    """Import it; raises `ProjectingError` where it can't be asked, and what its code raises."""
    target, name = contract.imported(reference)
    if inspect.isclass(target):
        target = target()
    if not callable(target.project) or inspect.iscoroutinefunction(target.project):
        raise ProjectingError(f"{name}.project is no function that can be asked as it is")
    own = getattr(target, "OWN_EVENTS_OF", None)
    if own is not None and not isinstance(own, str):
        raise ProjectingError(
            f"{name}.OWN_EVENTS_OF is no text; it is a column of events, or an SQL expression"
        )
    invariants = contract.declared_invariants(getattr(target, "INVARIANTS", None), name)
    strange = [rule for rule, condition in invariants.items() if callable(condition)]
    if strange:
        raise ProjectingError(
            f"{name}.INVARIANTS[{strange[0]!r}] is a function; where states are rows of a frame,"
            " an invariant is a condition, such as 'state.total >= 0'"
        )
    try:
        importlib.import_module("polars")  # the user's interpreter need not have it
    except ImportError as error:
        raise ProjectingError(
            f"{name}.project wants a Polars LazyFrame, and its interpreter has no polars"
        ) from error
    return Asked(target.project, name, {"own": own, "invariants": invariants})


class Session:
    """Answers the parent until it closes the pipe."""

    def __init__(
        self,
        asked: Asked,
        ready: Dict[str, Any],
        mark: Any,
        incoming: BinaryIO,
        outgoing: BinaryIO,
        answers: BinaryIO,
    ) -> None:
        self._asked = asked
        self._ready = ready
        self._mark = mark
        self._incoming, self._outgoing, self._answers = incoming, outgoing, answers
        self._asking = threading.Lock()
        self._question = 0
        """Which question is being answered: after one that failed, Polars may still draw for it."""
        self._drawn: Dict[int, Any] = {}
        """For each draw, what has come of it. Polars draws in several threads, in any order."""
        self._draws = 0

    def run(self) -> None:
        threading.Thread(target=self._sort_answers, daemon=True).start()
        wire.send(self._outgoing, {"kind": "ready", **self._ready})
        while True:
            try:
                wire.receive(self._incoming)
            except wire.ClosedError:
                return
            self._mark[0] += 1  # it is alive
            try:
                rows = self._projected()
            except Exception as error:
                said = carried((tracebacks.summary(error).splitlines() or [""])[0])
                with self._asking:
                    self._question += 1
                    self._drawn.clear()
                    wire.send(self._outgoing, {"kind": "raised", "error": said})
            else:
                wire.send(self._outgoing, {"kind": "projected"}, (rows,))

    def _projected(self) -> bytes:
        import polars as pl  # noqa: PLC0415 - as above

        frame = self._asked.function(_events(partial(self._draw, self._question)))
        if isinstance(frame, pl.LazyFrame):
            frame = frame.collect()
        if not isinstance(frame, pl.DataFrame):
            raise TypeError(
                "project(events) returned a %s; it gives a frame with a column key"
                % type(frame).__name__
            )
        objects = [column for column, kind in frame.schema.items() if kind == pl.Object]
        if objects:
            raise TypeError("the column %s holds Python objects" % objects[0])
        readable = [pl.col(pl.Categorical).cast(pl.String), pl.col(pl.Enum).cast(pl.String)]
        if hasattr(pl, "Int128"):
            readable.append(pl.col(pl.Int128).cast(pl.Decimal(38, 0)))
        out = BytesIO()
        frame.with_columns(*readable).rechunk().write_ipc_stream(out, compat_level=_oldest(pl))
        return out.getvalue()

    def _draw(self, question: int, columns: List[str]) -> Iterator[Any]:
        """These columns of all events, in frames, as they come."""
        import polars as pl  # noqa: PLC0415 - as above

        with self._asking:
            if question != self._question:
                raise ProjectingError("nobody waits for it any more")
            self._draws += 1
            answers = self._drawn[self._draws] = queue.SimpleQueue()
            wire.send(self._outgoing, {"kind": "draw", "draw": self._draws, "columns": columns})
        while True:
            header, parts = answers.get()
            if header["kind"] == "end":
                return
            if header["kind"] == "failed":
                raise ProjectingError("the events can't be read")
            yield pl.read_ipc_stream(BytesIO(parts[0]))

    def _sort_answers(self) -> None:
        """Each answer to the draw that it is for; some have nobody who waits any more."""
        while True:
            try:
                header, parts = wire.receive(self._answers)
            except wire.ClosedError:
                return
            self._mark[0] += 1
            waiting = self._drawn.get(header["draw"])
            if waiting is not None:
                waiting.put((header, parts))


def _oldest(pl: Any) -> Any:
    """The way to lay texts out that every reader of Arrow knows."""
    return pl.CompatLevel.oldest()


def _events(draw: Any) -> Any:
    """All events as a LazyFrame."""
    import polars as pl  # noqa: PLC0415 - as above
    from polars.io.plugins import register_io_source  # noqa: PLC0415 - as above

    texts = ("version", "id", "correlation_id", "causation_id", "data", "meta")
    schema = {
        "offset": pl.Int64(),
        "time": pl.Datetime("us", "UTC"),
        "stream": pl.String(),
        "revision": pl.Int64(),
        "type": pl.String(),
        **dict.fromkeys(texts, pl.String()),
    }

    def source(
        with_columns: Optional[List[str]],
        predicate: Any,
        n_rows: Optional[int],
        batch_size: Optional[int],  # noqa: ARG001 - Polars only recommends it
    ) -> Iterator[Any]:
        names = list(schema) if with_columns is None else [c for c in schema if c in with_columns]
        for frame in draw(names):
            found = frame.select(names).head(n_rows) if n_rows is not None else frame.select(names)
            if n_rows is not None:
                n_rows -= found.height
            yield found if predicate is None else found.filter(predicate)

    # Where it is asked for twice, it gives the same, so that it may be drawn once.
    wishes: Dict[str, Any] = {"schema": schema}
    if "is_pure" in inspect.signature(register_io_source).parameters:
        wishes["is_pure"] = True
    return register_io_source(source, **wishes)
