"""Runs a user's `project(events)`, from a Polars LazyFrame of all events to a frame of documents.

The parent sends the events when Polars reads them: only the columns that Polars asks for, in Arrow's
IPC stream format.
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
from ..protocol.text_limits import escape_surrogates
from . import contract


class RelationFunctionError(Exception):
    """The function can't be called; the message is written for the user."""


class RelationFunction:
    """The user's function and the settings in its module."""

    def __init__(self, function: Any, name: str, declared: Dict[str, Any]) -> None:
        self.function = function
        self.name = name
        self.declared = declared


def load_relation_function(reference: str) -> RelationFunction:
    """Import and return the function.

    Raises `RelationFunctionError` if it can't be called, and what importing its code raises.
    """
    target, name = contract.import_target(reference)
    if inspect.isclass(target):
        target = target()
    if not callable(target.project) or inspect.iscoroutinefunction(target.project):
        raise RelationFunctionError(f"{name}.project must be a function that is not async")
    own_events_expression = getattr(target, "OWN_EVENTS_OF", None)
    if own_events_expression is not None and not isinstance(own_events_expression, str):
        raise RelationFunctionError(
            f"{name}.OWN_EVENTS_OF must be a text: a column of events, or an SQL expression"
        )
    invariants = contract.parse_invariants(getattr(target, "INVARIANTS", None), name)
    function_invariants = [rule for rule, condition in invariants.items() if callable(condition)]
    if function_invariants:
        raise RelationFunctionError(
            f"{name}.INVARIANTS[{function_invariants[0]!r}] is a function, but project(events) returns rows."
            " Write a condition, such as 'state.total >= 0'"
        )
    try:
        importlib.import_module("polars")  # the user's interpreter need not have it
    except ImportError as error:
        raise RelationFunctionError(
            f"{name}.project needs polars, which its interpreter doesn't have. Install polars there"
        ) from error
    return RelationFunction(
        target.project, name, {"own": own_events_expression, "invariants": invariants}
    )


class RelationSession:
    """Evaluates the function each time the parent asks, until it closes the pipe."""

    def __init__(
        self,
        relation: RelationFunction,
        ready_header: Dict[str, Any],
        current_event: Any,
        incoming: BinaryIO,
        outgoing: BinaryIO,
        answers: BinaryIO,
    ) -> None:
        self._relation = relation
        self._ready_header = ready_header
        self._heartbeat = current_event
        self._incoming, self._outgoing, self._answers = incoming, outgoing, answers
        self._lock = threading.Lock()
        self._evaluation_number = 0
        """Counts evaluations, because Polars may still read events for one that has failed."""
        self._queues_by_draw: Dict[int, Any] = {}
        """The answers to each read, by its number; Polars reads in several threads, in any order."""
        self._draw_count = 0

    def run(self) -> None:
        threading.Thread(target=self._dispatch_answers, daemon=True).start()
        wire.send_frame(self._outgoing, {"kind": "ready", **self._ready_header})
        while True:
            try:
                wire.receive_frame(self._incoming)
            except wire.ConnectionClosedError:
                return
            self._heartbeat[0] += 1  # tells the parent that this process makes progress
            try:
                rows = self._evaluate()
            except Exception as error:
                message = escape_surrogates(
                    (tracebacks.summarize_error(error).splitlines() or [""])[0]
                )
                with self._lock:
                    self._evaluation_number += 1
                    self._queues_by_draw.clear()
                    wire.send_frame(self._outgoing, {"kind": "raised", "error": message})
            else:
                wire.send_frame(self._outgoing, {"kind": "projected"}, (rows,))

    def _evaluate(self) -> bytes:
        import polars as pl  # noqa: PLC0415 - only a projection for Polars needs the user's Polars

        frame = self._relation.function(
            _build_lazy_events(partial(self._draw_columns, self._evaluation_number))
        )
        if isinstance(frame, pl.LazyFrame):
            frame = frame.collect()
        if not isinstance(frame, pl.DataFrame):
            raise TypeError(
                "project(events) must return a frame with a column key, but it returned a %s"
                % type(frame).__name__
            )
        objects = [column for column, kind in frame.schema.items() if kind == pl.Object]
        if objects:
            raise TypeError("the column %s holds Python objects" % objects[0])
        readable = [pl.col(pl.Categorical).cast(pl.String), pl.col(pl.Enum).cast(pl.String)]
        if hasattr(pl, "Int128"):
            readable.append(pl.col(pl.Int128).cast(pl.Decimal(38, 0)))
        out = BytesIO()
        frame.with_columns(*readable).rechunk().write_ipc_stream(
            out, compat_level=_oldest_compatibility(pl)
        )
        return out.getvalue()

    def _draw_columns(self, evaluation_number: int, columns: List[str]) -> Iterator[Any]:
        """Yield frames of these columns of all events as the parent sends them.

        Raises `RelationFunctionError` if the evaluation has ended or the events can't be read.
        """
        import polars as pl  # noqa: PLC0415 - only a projection for Polars needs the user's Polars

        with self._lock:
            if evaluation_number != self._evaluation_number:
                raise RelationFunctionError("this evaluation has already ended")
            self._draw_count += 1
            answers = self._queues_by_draw[self._draw_count] = queue.SimpleQueue()
            wire.send_frame(
                self._outgoing, {"kind": "draw", "draw": self._draw_count, "columns": columns}
            )
        while True:
            header, parts = answers.get()
            if header["kind"] == "end":
                return
            if header["kind"] == "failed":
                raise RelationFunctionError("the events can't be read")
            yield pl.read_ipc_stream(BytesIO(parts[0]))

    def _dispatch_answers(self) -> None:
        """Pass each answer to the read that waits for it; drop answers that no read waits for."""
        while True:
            try:
                header, parts = wire.receive_frame(self._answers)
            except wire.ConnectionClosedError:
                return
            self._heartbeat[0] += 1
            waiting = self._queues_by_draw.get(header["draw"])
            if waiting is not None:
                waiting.put((header, parts))


def _oldest_compatibility(pl: Any) -> Any:
    """Return the Polars setting that writes a format every Arrow reader knows."""
    return pl.CompatLevel.oldest()


def _build_lazy_events(draw: Any) -> Any:
    """Return all events as a LazyFrame that reads its columns with `draw(names)`."""
    import polars as pl  # noqa: PLC0415 - only a projection for Polars needs the user's Polars
    from polars.io.plugins import register_io_source  # noqa: PLC0415 - only a projection for Polars needs the user's Polars

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
            selected = frame.select(names)
            if n_rows is not None:
                selected = selected.head(n_rows)
                n_rows -= selected.height
            yield selected if predicate is None else selected.filter(predicate)

    # Every read gives the same events, so Polars may read once for several uses.
    options: Dict[str, Any] = {"schema": schema}
    if "is_pure" in inspect.signature(register_io_source).parameters:
        options["is_pure"] = True
    return register_io_source(source, **options)
