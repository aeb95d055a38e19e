"""Recordings in the workspace: calls and their answers. Only this module writes and reads `calls`.

Recordings are redacted before they are written. A small JSON answer is stored with its call, any other
under the hash of its content, so that equal answers are stored once.
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
from gateway.calls import Answer, AnswerOutcome, Call, CallKind
from gateway.redaction import Redactor
from storage.db.query import fetch_arrow, fetch_rows, time_from_micros
from storage.workspace.metadata import read_metadata, write_metadata
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_INLINE_CHARACTERS = 1024
"""Largest answer, in characters, that is stored with its call."""
_VERSION_KEY = "recordings"
"""Metadata key of the counter that grows whenever recordings change."""
_PAGE_ROWS = 5_000

_COLUMNS = (
    'c.call, c.projection, c.timeline, c.code, c."offset", c.event_id, c.key, c.ordinal, c.occurrence,'
    " c.kind, c.port, c.operation, c.fingerprint, c.request, c.outcome, c.status, c.headers,"
    " c.response, c.body, b.media, b.text, b.bytes, c.error, c.attempts,"
    " epoch_us(c.time) AS micros, c.latency, c.correlation_id, c.idempotency_key, c.origin"
)
_FROM_CLAUSE = "FROM calls AS c LEFT JOIN bodies AS b ON b.body = c.body"


@dataclass(frozen=True)
class Recording:
    """A kept call with its answer."""

    call: Call
    answer: Answer
    recording_number: int | None = None
    """None until it is stored."""
    projection: str | None = None
    """Name of the projection that made the call; None if the call was imported."""
    code: str | None = None
    ordinal: int = 0
    """Index of the call among the calls of its event."""
    attempts: int = 1
    time: datetime | None = None
    correlation_id: str | None = None
    idempotency_key: str | None = None
    origin: str = "live"
    """`live`, `imported` or `stub`."""

    @property
    def offset(self) -> int | None:
        """Offset of the event that caused the call; None if unknown."""
        return None if self.call.offset < 0 else self.call.offset


def redact_recording(
    recording: Recording, redactor: Redactor, paths: Sequence[str] = ()
) -> Recording:
    """Return a recording without its secrets."""
    _redact_once(recording, redactor, paths)  # the first pass learns each secret by its name,
    return _redact_once(recording, redactor, paths)  # the second finds it where it has no name


def _redact_once(recording: Recording, redactor: Redactor, paths: Sequence[str]) -> Recording:
    call, answer = recording.call, recording.answer
    redactor.redact_headers(call.headers)
    redacted_call = replace(
        call,
        request=redactor.redact_value(call.request, paths),
        operation=redactor.redact_text(call.operation),
        headers=(),
        body=b"",
    )
    redacted_answer = replace(
        answer,
        headers=redactor.redact_headers(answer.headers),
        body=_redact_body(answer, redactor, paths),
        error=_redact_text(answer.error, redactor),
    )
    return replace(
        recording,
        call=redacted_call,
        answer=redacted_answer,
        correlation_id=_redact_text(recording.correlation_id, redactor),
        idempotency_key=_redact_text(recording.idempotency_key, redactor),
    )


def _redact_body(answer: Answer, redactor: Redactor, paths: Sequence[str]) -> bytes:
    if "json" in answer.media_type:
        try:
            value = msgspec.json.decode(answer.body) if answer.body else None
        except (msgspec.DecodeError, RecursionError):
            return redactor.redact_bytes(answer.body)
        redacted_value = redactor.redact_value(value, paths)
        # If there was nothing to redact, keep the original digits and order.
        return answer.body if redacted_value == value else msgspec.json.encode(redacted_value)
    return redactor.redact_bytes(answer.body)


def _redact_text(text: str | None, redactor: Redactor) -> str | None:
    return None if text is None else redactor.redact_text(text)


def read_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Return a counter that grows whenever recordings change."""
    found = read_metadata(connection, _VERSION_KEY)
    return found if isinstance(found, int) else 0


def insert_recordings(
    connection: duckdb.DuckDBPyConnection, recordings: Sequence[Recording]
) -> list[int]:
    """Store recordings; return their numbers."""
    if not recordings:
        return []
    ((first,),) = connection.execute("SELECT coalesce(max(call), -1) + 1 FROM calls").fetchall()
    numbers = list(range(first, first + len(recordings)))
    _write_recordings(connection, numbers, recordings)
    return numbers


def replace_recording(
    connection: duckdb.DuckDBPyConnection, number: int, recording: Recording
) -> None:
    """Replace the recording of a number, by its outcome or by its redacted form."""
    connection.execute("DELETE FROM calls WHERE call = ?", [number])
    _write_recordings(connection, [number], [recording])


def end_pending(connection: duckdb.DuckDBPyConnection, number: int, outcome: AnswerOutcome) -> None:
    """Set only the outcome of a pending call, if it still exists."""
    connection.execute(
        "UPDATE calls SET outcome = ? WHERE call = ? AND outcome = ?",
        [outcome.value, number, AnswerOutcome.PENDING.value],
    )
    increment_version(connection)


def answer_pending(connection: duckdb.DuckDBPyConnection, number: int, answer: Answer) -> None:
    """Set the answer of a call with unknown outcome, if it still exists."""
    for one in _by_numbers(connection, [number]):
        replace_recording(connection, number, replace(one, answer=answer))


def delete_recordings(
    connection: duckdb.DuckDBPyConnection, projection: str, first_offset: int, last_offset: int
) -> None:
    """Delete a projection's recordings in a range of offsets, except commands that were sent."""
    connection.execute(
        "DELETE FROM calls WHERE projection = ? AND (kind = 'query' OR origin = 'stub')"
        ' AND "offset" BETWEEN ? AND ?',
        [projection, first_offset, last_offset],
    )
    increment_version(connection)


def redact_stored_recordings(
    workspace: Workspace, redactor: Redactor, condition: str, parameters: Sequence[Any]
) -> None:
    """Remove secrets that were learned only after calls had been stored, from the calls that match a
    condition; then delete bodies that no call refers to."""
    texts = ("c.request", "c.response", "c.headers", "c.error", "c.operation", "b.text")
    for pattern in redactor.secret_patterns():
        contains_secret = " OR ".join(f"regexp_matches({text}, ?)" for text in texts)
        with workspace.reading() as connection:
            number_rows = connection.execute(
                f"SELECT c.call {_FROM_CLAUSE} WHERE ({condition}) AND ({contains_secret})",
                [*parameters, *[pattern] * len(texts)],
            ).fetchall()
        numbers = [number for (number,) in number_rows]
        for first in range(0, len(numbers), _PAGE_ROWS):
            with workspace.writing() as connection:
                for recording in _by_numbers(connection, numbers[first : first + _PAGE_ROWS]):
                    if recording.recording_number is not None:
                        replace_recording(
                            connection,
                            recording.recording_number,
                            redact_recording(recording, redactor),
                        )
    with workspace.writing() as connection:
        connection.execute(
            "DELETE FROM bodies WHERE body NOT IN (SELECT body FROM calls WHERE body IS NOT NULL)"
        )


def delete_same_call(connection: duckdb.DuckDBPyConnection, recording: Recording) -> None:
    """Delete earlier recordings of the same call."""
    call = recording.call
    connection.execute(
        'DELETE FROM calls WHERE projection = ? AND "offset" = ? AND key IS NOT DISTINCT FROM ?'
        " AND fingerprint = ? AND occurrence = ?",
        [recording.projection, call.offset, call.key, call.fingerprint, call.occurrence],
    )


def count_recordings(workspace: Workspace) -> int:
    """Return the number of recordings."""
    with workspace.reading() as connection:
        ((found,),) = connection.execute("SELECT count(*) FROM calls").fetchall()
    return int(found)


def iterate_recordings(
    workspace: Workspace, condition: str = "true", parameters: Any = ()
) -> Iterator[Recording]:
    """The recordings that match a condition (trusted SQL), in the order of their numbers."""
    first = -1
    while True:
        with workspace.reading() as connection:
            found = fetch_rows(
                connection,
                f"SELECT {_COLUMNS} {_FROM_CLAUSE} WHERE c.call IN (SELECT call FROM calls WHERE ({condition})"
                f" AND call > ? ORDER BY call LIMIT {_PAGE_ROWS}) ORDER BY c.call",
                [*parameters, first],
            )
        yield from map(_row_to_recording, found)
        if len(found) < _PAGE_ROWS:
            return
        first = found[-1]["call"]


def read_event_recordings(workspace: Workspace, offset: int) -> list[Recording]:
    """Return the recordings of one event, in order."""
    with workspace.reading() as connection:
        return of_event(connection, offset)


def of_event(connection: duckdb.DuckDBPyConnection, offset: int) -> list[Recording]:
    """Return the recordings of one event, on a connection that may be writing."""
    found = fetch_rows(
        connection,
        f'SELECT {_COLUMNS} {_FROM_CLAUSE} WHERE c."offset" = ? ORDER BY ordinal, call',
        [offset],
    )
    return [_row_to_recording(row) for row in found]


def find_latest(workspace: Workspace, call: Call) -> Recording | None:
    """Return the last recording of the same request up to the call's event; else an unassigned one."""
    with workspace.reading() as connection:
        found = fetch_rows(
            connection,
            f"SELECT {_COLUMNS} {_FROM_CLAUSE} WHERE c.fingerprint = ? AND c.port = ?"
            ' AND (c."offset" IS NULL OR c."offset" <= ?) AND c.outcome <> \'pending\''
            ' ORDER BY c."offset" DESC NULLS LAST, c.ordinal DESC LIMIT 1',
            [call.fingerprint, call.port, call.offset],
        )
    return _row_to_recording(found[0]) if found else None


def read_answers(
    connection: duckdb.DuckDBPyConnection, projection: str, first_offset: int, end_offset: int
) -> "pa.Table":
    """Return recordings that may answer a projection's calls at events in a range of offsets.

    Recordings of the projection itself take precedence over imported ones, and those over recordings
    of other projections. Columns: `offset`, `call`, and `answer`: a JSON list of key, port, operation,
    request (as text), response, number, and whether it is a command; `answer` is NULL if the broker
    must answer.
    """
    is_plain = "status IS NULL AND outcome = 'ok' AND response IS NOT NULL"
    own_key = "CASE WHEN rank < 2 THEN key END"
    words = (own_key, "port", "operation", "request")
    texts = [f"coalesce(CAST(to_json({word}) AS VARCHAR), 'null')" for word in words]
    items = [*texts, "response", "CAST(call AS VARCHAR)", "CAST(kind = 'command' AS VARCHAR)"]
    answer = "'[' || " + " || ',' || ".join(items) + " || ']'"
    return fetch_arrow(
        connection,
        f'SELECT "offset", call, CASE WHEN {is_plain} THEN {answer} END AS answer'
        " FROM (SELECT *, CASE WHEN projection = $projection THEN 0 WHEN projection IS NULL THEN 1"
        ' ELSE 2 END AS rank FROM calls WHERE "offset" >= $first AND "offset" < $last'
        ' QUALIFY rank = min(rank) OVER (PARTITION BY "offset", fingerprint))'
        ' ORDER BY "offset", ordinal, call',
        {"projection": projection, "first": first_offset, "last": end_offset},
    )


def read_by_numbers(workspace: Workspace, numbers: Iterable[int]) -> list[Recording]:
    """Return recordings by their numbers, in the order of their event."""
    with workspace.reading() as connection:
        return _by_numbers(connection, numbers)


def _by_numbers(connection: duckdb.DuckDBPyConnection, numbers: Iterable[int]) -> list[Recording]:
    found = fetch_rows(
        connection,
        f"SELECT {_COLUMNS} {_FROM_CLAUSE} WHERE list_contains(?, c.call) ORDER BY ordinal, c.call",
        [list(numbers)],
    )
    return [_row_to_recording(row) for row in found]


def increment_version(connection: duckdb.DuckDBPyConnection) -> None:
    """Note that recordings have changed."""
    write_metadata(connection, _VERSION_KEY, read_version(connection) + 1)


def _write_recordings(
    connection: duckdb.DuckDBPyConnection, numbers: Sequence[int], recordings: Sequence[Recording]
) -> None:
    bodies: dict[str, tuple[Any, ...]] = {}
    values = [
        _recording_to_row(number, one, bodies)
        for number, one in zip(numbers, recordings, strict=True)
    ]
    _insert_rows(connection, "calls", values)
    stored_bodies = connection.execute(
        "SELECT body FROM bodies WHERE list_contains(?, body)", [list(bodies)]
    ).fetchall()
    stored_hashes = {body for (body,) in stored_bodies}
    _insert_rows(
        connection, "bodies", [row for body, row in bodies.items() if body not in stored_hashes]
    )
    increment_version(connection)


def _insert_rows(
    connection: duckdb.DuckDBPyConnection, table: str, values: Sequence[tuple[Any, ...]]
) -> None:
    if not values:
        return
    import pyarrow as pa  # noqa: PLC0415 - replaying writes nothing

    kinds = {
        "BIGINT": pa.int64(),
        "INTEGER": pa.int32(),
        "DOUBLE": pa.float64(),
        "BLOB": pa.binary(),
        "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    }
    described = connection.execute(f"DESCRIBE {table}").fetchall()
    columns = list(zip(*values, strict=True))
    arrays = {
        name: pa.array(column, kinds.get(kind, pa.string()))
        for (name, kind, *_), column in zip(described, columns, strict=True)
    }
    connection.register("kept", pa.table(arrays))
    connection.execute(f"INSERT INTO {table} SELECT * FROM kept")
    connection.unregister("kept")


def _recording_to_row(
    number: int, recording: Recording, bodies: dict[str, tuple[Any, ...]]
) -> tuple[Any, ...]:
    call, answer = recording.call, recording.answer
    response, body = None, None
    text = answer.text
    if answer.status is None and text is not None and len(text) <= _MAX_INLINE_CHARACTERS:
        response = text or None
    elif answer.body:
        body = hashlib.sha256(answer.media_type.encode() + b"\0" + answer.body).hexdigest()
        bodies[body] = (body, answer.media_type, text, None if text is not None else answer.body)
    headers = json.dumps([list(pair) for pair in answer.headers]) if answer.headers else None
    return (
        *(
            number,
            recording.projection,
            "main",
            recording.code,
            recording.offset,
            call.event_id,
            call.key,
        ),
        *(recording.ordinal, call.occurrence, call.kind.value, call.port, call.operation),
        *(call.fingerprint, calls.encode_canonical(call.request).decode(), answer.outcome.value),
        *(answer.status, headers, response, body, answer.error, recording.attempts),
        *(recording.time, answer.latency, recording.correlation_id),
        *(recording.idempotency_key, recording.origin),
    )


def _row_to_recording(row: Mapping[str, Any]) -> Recording:
    text = row["response"] if row["response"] is not None else row["text"]
    body = row["bytes"] if row["bytes"] is not None else (text or "").encode()
    answer = Answer(
        AnswerOutcome(row["outcome"]),
        row["status"],
        [(name, value) for name, value in json.loads(row["headers"] or "[]")],
        bytes(body),
        row["media"] or "application/json",
        row["error"],
        row["latency"] or 0.0,
    )
    call = Call(
        CallKind(row["kind"]),
        row["port"],
        row["operation"],
        json.loads(row["request"]),
        -1 if row["offset"] is None else row["offset"],
        row["event_id"],
        row["key"],
        row["occurrence"],
    )
    return Recording(
        call,
        answer,
        row["call"],
        row["projection"],
        row["code"],
        row["ordinal"],
        row["attempts"],
        time_from_micros(row["micros"]),
        row["correlation_id"],
        row["idempotency_key"],
        row["origin"],
    )
