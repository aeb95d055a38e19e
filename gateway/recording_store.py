"""Calls and their answers, kept in the workspace. This module alone writes and reads `calls`.

What is kept was redacted before. A small JSON answer lies beside its call, any other under the hash
of its content, so that one that comes again takes no more room.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec

from gateway import calls
from gateway.calls import Answer, Call, Kind, Outcome
from gateway.redaction import Redactor
from storage.db.query import arrow, rows, utc
from storage.workspace.workspace import Workspace, read_fact, write_fact

if TYPE_CHECKING:
    import pyarrow as pa

_SMALL = 1024
"""Characters of an answer that is kept beside its call."""
_VERSION = "recordings"
"""The fact that says how often recordings have changed."""
_PAGE = 5_000

_COLUMNS = (
    'c.call, c.projection, c.timeline, c.code, c."offset", c.event_id, c.key, c.ordinal, c.occurrence,'
    " c.kind, c.port, c.operation, c.fingerprint, c.request, c.outcome, c.status, c.headers,"
    " c.response, c.body, b.media, b.text, b.bytes, c.error, c.attempts,"
    " epoch_us(c.time) AS micros, c.latency, c.correlation_id, c.idempotency_key, c.origin"
)
_FROM = "FROM calls AS c LEFT JOIN bodies AS b ON b.body = c.body"


@dataclass(frozen=True)
class Recorded:
    """A call that was kept."""

    call: Call
    answer: Answer
    number: int | None = None
    """None before it is kept."""
    projection: str | None = None
    """The name of the one that made it; None where it was imported."""
    code: str | None = None
    ordinal: int = 0
    """Its place among the calls of its event."""
    attempts: int = 1
    time: datetime | None = None
    correlation_id: str | None = None
    idempotency_key: str | None = None
    origin: str = "live"
    """`live`, `imported` or `stub`."""

    @property
    def offset(self) -> int | None:
        """The event that caused it; None where nobody knows."""
        return None if self.call.offset < 0 else self.call.offset


def redacted(recorded: Recorded, redactor: Redactor, paths: Sequence[str] = ()) -> Recorded:
    """The same without its secrets, wherever they stand in it."""
    _without(recorded, redactor, paths)  # every secret is met under its name,
    return _without(recorded, redactor, paths)  # and then found where it has none


def _without(recorded: Recorded, redactor: Redactor, paths: Sequence[str]) -> Recorded:
    call, answer = recorded.call, recorded.answer
    redactor.headers(call.headers)
    kept = replace(
        call,
        request=redactor.value(call.request, paths),
        operation=redactor.text(call.operation),
        headers=(),
        body=b"",
    )
    said = replace(
        answer,
        headers=redactor.headers(answer.headers),
        body=_body(answer, redactor, paths),
        error=_text(answer.error, redactor),
    )
    return replace(
        recorded,
        call=kept,
        answer=said,
        correlation_id=_text(recorded.correlation_id, redactor),
        idempotency_key=_text(recorded.idempotency_key, redactor),
    )


def _body(answer: Answer, redactor: Redactor, paths: Sequence[str]) -> bytes:
    if "json" in answer.media:
        try:
            value = msgspec.json.decode(answer.body) if answer.body else None
        except (msgspec.DecodeError, RecursionError):
            return redactor.bytes(answer.body)
        kept = redactor.value(value, paths)
        # Digits and order stay as they came, where nothing had to be taken out.
        return answer.body if kept == value else msgspec.json.encode(kept)
    return redactor.bytes(answer.body)


def _text(text: str | None, redactor: Redactor) -> str | None:
    return None if text is None else redactor.text(text)


def version(connection: duckdb.DuckDBPyConnection) -> int:
    """A number that is another one whenever recordings have changed."""
    found = read_fact(connection, _VERSION)
    return found if isinstance(found, int) else 0


def keep(connection: duckdb.DuckDBPyConnection, found: Sequence[Recorded]) -> list[int]:
    """Write recordings; their numbers."""
    if not found:
        return []
    ((first,),) = connection.execute("SELECT coalesce(max(call), -1) + 1 FROM calls").fetchall()
    numbers = list(range(first, first + len(found)))
    _write(connection, numbers, found)
    return numbers


def settle(connection: duckdb.DuckDBPyConnection, number: int, one: Recorded) -> None:
    """Write a call anew: how it ended whose intent was kept, or what is left without secrets."""
    connection.execute("DELETE FROM calls WHERE call = ?", [number])
    _write(connection, [number], [one])


def end_pending(connection: duckdb.DuckDBPyConnection, number: int, outcome: Outcome) -> None:
    """Write only how a pending call ended, if it is there yet."""
    connection.execute(
        "UPDATE calls SET outcome = ? WHERE call = ? AND outcome = ?",
        [outcome.value, number, Outcome.PENDING.value],
    )
    changed(connection)


def answer_pending(connection: duckdb.DuckDBPyConnection, number: int, answer: Answer) -> None:
    """Give a call that nobody saw end an answer, if it is there yet."""
    for one in _by_numbers(connection, [number]):
        settle(connection, number, replace(one, answer=answer))


def forget(connection: duckdb.DuckDBPyConnection, projection: str, first: int, last: int) -> None:
    """Drop what a projection recorded at events of a stretch, but commands that were sent."""
    connection.execute(
        "DELETE FROM calls WHERE projection = ? AND (kind = 'query' OR origin = 'stub')"
        ' AND "offset" BETWEEN ? AND ?',
        [projection, first, last],
    )
    changed(connection)


def look_again(
    workspace: Workspace, redactor: Redactor, condition: str, parameters: Sequence[Any]
) -> None:
    """Take out secrets that were met only after calls had been kept, of those that a condition
    keeps; and drop bodies that no call has any more."""
    texts = ("c.request", "c.response", "c.headers", "c.error", "c.operation", "b.text")
    for pattern in redactor.patterns():
        holds = " OR ".join(f"regexp_matches({text}, ?)" for text in texts)
        with workspace.reading() as connection:
            found = connection.execute(
                f"SELECT c.call {_FROM} WHERE ({condition}) AND ({holds})",
                [*parameters, *[pattern] * len(texts)],
            ).fetchall()
        numbers = [number for (number,) in found]
        for first in range(0, len(numbers), _PAGE):
            with workspace.writing() as connection:
                for one in _by_numbers(connection, numbers[first : first + _PAGE]):
                    if one.number is not None:
                        settle(connection, one.number, redacted(one, redactor))
    with workspace.writing() as connection:
        connection.execute(
            "DELETE FROM bodies WHERE body NOT IN (SELECT body FROM calls WHERE body IS NOT NULL)"
        )


def forget_same(connection: duckdb.DuckDBPyConnection, one: Recorded) -> None:
    """Drop what was recorded of the same call."""
    call = one.call
    connection.execute(
        'DELETE FROM calls WHERE projection = ? AND "offset" = ? AND key IS NOT DISTINCT FROM ?'
        " AND fingerprint = ? AND occurrence = ?",
        [one.projection, call.offset, call.key, call.fingerprint, call.occurrence],
    )


def count(workspace: Workspace) -> int:
    """How many there are."""
    with workspace.reading() as connection:
        ((found,),) = connection.execute("SELECT count(*) FROM calls").fetchall()
    return int(found)


def all_of(
    workspace: Workspace, condition: str = "true", parameters: Any = ()
) -> Iterator[Recorded]:
    """Recordings that a condition of ours keeps, in the order of the log."""
    first = -1
    while True:
        with workspace.reading() as connection:
            found = rows(
                connection,
                f"SELECT {_COLUMNS} {_FROM} WHERE c.call IN (SELECT call FROM calls WHERE ({condition})"
                f" AND call > ? ORDER BY call LIMIT {_PAGE}) ORDER BY c.call",
                [*parameters, first],
            )
        yield from map(_recorded, found)
        if len(found) < _PAGE:
            return
        first = found[-1]["call"]


def at(workspace: Workspace, offset: int) -> list[Recorded]:
    """Recordings of one event, in order."""
    with workspace.reading() as connection:
        return of_event(connection, offset)


def of_event(connection: duckdb.DuckDBPyConnection, offset: int) -> list[Recorded]:
    """The same, on a connection that may be writing."""
    found = rows(
        connection,
        f'SELECT {_COLUMNS} {_FROM} WHERE c."offset" = ? ORDER BY ordinal, call',
        [offset],
    )
    return [_recorded(row) for row in found]


def latest(workspace: Workspace, call: Call) -> Recorded | None:
    """The last that asked the same at or before a call's event; else one of no known event."""
    with workspace.reading() as connection:
        found = rows(
            connection,
            f"SELECT {_COLUMNS} {_FROM} WHERE c.fingerprint = ? AND c.port = ?"
            ' AND (c."offset" IS NULL OR c."offset" <= ?) AND c.outcome <> \'pending\''
            ' ORDER BY c."offset" DESC NULLS LAST, c.ordinal DESC LIMIT 1',
            [call.fingerprint, call.port, call.offset],
        )
    return _recorded(found[0]) if found else None


def of_range(
    connection: duckdb.DuckDBPyConnection, projection: str, first: int, last: int
) -> "pa.Table":
    """Recordings that may answer a projection's calls at events from one offset to before another.

    Where it has none of its own of a request, those of another are taken. Columns: `offset`,
    `call`, and `answer`: a JSON list of key, port, operation, request (as a text), response, number,
    and whether it is a command; NULL where it takes more than that to answer.
    """
    plain = "status IS NULL AND outcome = 'ok' AND response IS NOT NULL"
    own_key = "CASE WHEN rank < 2 THEN key END"
    words = (own_key, "port", "operation", "request")
    texts = [f"coalesce(CAST(to_json({word}) AS VARCHAR), 'null')" for word in words]
    items = [*texts, "response", "CAST(call AS VARCHAR)", "CAST(kind = 'command' AS VARCHAR)"]
    answer = "'[' || " + " || ',' || ".join(items) + " || ']'"
    return arrow(
        connection,
        f'SELECT "offset", call, CASE WHEN {plain} THEN {answer} END AS answer'
        " FROM (SELECT *, CASE WHEN projection = $projection THEN 0 WHEN projection IS NULL THEN 1"
        ' ELSE 2 END AS rank FROM calls WHERE "offset" >= $first AND "offset" < $last'
        ' QUALIFY rank = min(rank) OVER (PARTITION BY "offset", fingerprint))'
        ' ORDER BY "offset", ordinal, call',
        {"projection": projection, "first": first, "last": last},
    )


def by_numbers(workspace: Workspace, numbers: Iterable[int]) -> list[Recorded]:
    """Recordings by their numbers, in their order at their event."""
    with workspace.reading() as connection:
        return _by_numbers(connection, numbers)


def _by_numbers(connection: duckdb.DuckDBPyConnection, numbers: Iterable[int]) -> list[Recorded]:
    found = rows(
        connection,
        f"SELECT {_COLUMNS} {_FROM} WHERE list_contains(?, c.call) ORDER BY ordinal, c.call",
        [list(numbers)],
    )
    return [_recorded(row) for row in found]


def changed(connection: duckdb.DuckDBPyConnection) -> None:
    """Say that recordings are others than they were."""
    write_fact(connection, _VERSION, version(connection) + 1)


def _write(
    connection: duckdb.DuckDBPyConnection, numbers: Sequence[int], found: Sequence[Recorded]
) -> None:
    bodies: dict[str, tuple[Any, ...]] = {}
    values = [_row(number, one, bodies) for number, one in zip(numbers, found, strict=True)]
    _insert(connection, "calls", values)
    there = connection.execute(
        "SELECT body FROM bodies WHERE list_contains(?, body)", [list(bodies)]
    ).fetchall()
    known = {body for (body,) in there}
    _insert(connection, "bodies", [row for body, row in bodies.items() if body not in known])
    changed(connection)


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, values: Sequence[tuple[Any, ...]]
) -> None:
    if not values:
        return
    import pyarrow as pa  # noqa: PLC0415 - asking needs none

    kinds = {
        "BIGINT": pa.int64(),
        "INTEGER": pa.int32(),
        "DOUBLE": pa.float64(),
        "BLOB": pa.binary(),
        "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    }
    described = connection.execute(f"DESCRIBE {table}").fetchall()
    columns = list(zip(*values, strict=True))
    made = {
        name: pa.array(column, kinds.get(kind, pa.string()))
        for (name, kind, *_), column in zip(described, columns, strict=True)
    }
    connection.register("kept", pa.table(made))
    connection.execute(f"INSERT INTO {table} SELECT * FROM kept")
    connection.unregister("kept")


def _row(number: int, one: Recorded, bodies: dict[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    call, answer = one.call, one.answer
    response, body = None, None
    text = answer.text
    if answer.status is None and text is not None and len(text) <= _SMALL:
        response = text or None
    elif answer.body:
        body = hashlib.sha256(answer.media.encode() + b"\0" + answer.body).hexdigest()
        bodies[body] = (body, answer.media, text, None if text is not None else answer.body)
    headers = json.dumps([list(pair) for pair in answer.headers]) if answer.headers else None
    return (
        *(number, one.projection, "main", one.code, one.offset, call.event_id, call.key),
        *(one.ordinal, call.occurrence, call.kind.value, call.port, call.operation),
        *(call.fingerprint, calls.canonical(call.request).decode(), answer.outcome.value),
        *(answer.status, headers, response, body, answer.error, one.attempts),
        *(one.time, answer.latency, one.correlation_id),
        *(one.idempotency_key, one.origin),
    )


def _recorded(row: Mapping[str, Any]) -> Recorded:
    text = row["response"] if row["response"] is not None else row["text"]
    body = row["bytes"] if row["bytes"] is not None else (text or "").encode()
    answer = Answer(
        Outcome(row["outcome"]),
        row["status"],
        [(name, value) for name, value in json.loads(row["headers"] or "[]")],
        bytes(body),
        row["media"] or "application/json",
        row["error"],
        row["latency"] or 0.0,
    )
    call = Call(
        Kind(row["kind"]),
        row["port"],
        row["operation"],
        json.loads(row["request"]),
        -1 if row["offset"] is None else row["offset"],
        row["event_id"],
        row["key"],
        row["occurrence"],
    )
    return Recorded(
        call,
        answer,
        row["call"],
        row["projection"],
        row["code"],
        row["ordinal"],
        row["attempts"],
        utc(row["micros"]),
        row["correlation_id"],
        row["idempotency_key"],
        row["origin"],
    )
