"""Writes a slice of the log: the events that reached one document, as JSON lines for `refold load`.

Data is written as stored, with all digits of its numbers; the offsets are those of the whole log.
"""

from pathlib import Path

from replay.event_fold import state_recall
from replay.history.history import History

EVENT_LINE_SQL = """
'{"offset": ' || "offset"
|| ', "time": ' || coalesce(to_json(strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ')), 'null')
|| ', "stream": ' || coalesce(to_json(stream), 'null')
|| ', "revision": ' || coalesce(CAST(revision AS VARCHAR), 'null')
|| ', "type": ' || coalesce(to_json(type), 'null')
|| ', "version": ' || coalesce(
    CASE WHEN regexp_full_match(version, '0|[1-9][0-9]*') THEN version ELSE to_json(version) END,
    'null')
|| ', "id": ' || coalesce(to_json(id), 'null')
|| ', "correlation_id": ' || coalesce(to_json(correlation_id), 'null')
|| ', "causation_id": ' || coalesce(to_json(causation_id), 'null')
|| ', "data": ' || translate(coalesce(data, 'null'), chr(10) || chr(13), '  ')
|| ', "meta": ' || translate(coalesce(meta, 'null'), chr(10) || chr(13), '  ') || '}' || chr(10)
"""
"""SQL for an event as a line of JSON. Line breaks become blanks: in JSON they only separate tokens."""


def write_event_slice(history: History, key: str | None, offset: int, file: Path) -> int:
    """Write the events up to an offset that reached a document, and return their number.

    If documents are routed, the event at the offset is always included, because the fault may be that
    it didn't reach the document. Without a key it is the only event.
    """
    is_routed = history.is_routed
    condition_at_offset = f'"offset" = {int(offset)}' if is_routed or key is None else "false"
    query = (
        f'SELECT {EVENT_LINE_SQL} AS line FROM events WHERE ("offset" IN'
        f" ({state_recall.reached_offsets_sql(is_routed=is_routed)})"
        f' OR {condition_at_offset}) AND "offset" <= {int(offset)} ORDER BY "offset"'
    )
    fold_record, count = history.fold_record, 0
    with history.workspace.reading() as connection, file.open("w", encoding="utf-8") as out:
        state_recall.register_wanted_keys(connection, [] if key is None else [key])
        parameters = {"projection": fold_record.projection_number, "timeline": fold_record.timeline}
        for batch in connection.sql(query, params=parameters).to_arrow_reader(10_000):
            count += batch.num_rows
            out.write("".join(batch.column(0).to_pylist()))
    return count


def is_document_reached(history: History, key: str, offset: int) -> bool:
    """Whether an event up to an offset reached the document."""
    fold_record, reached = (
        history.fold_record,
        state_recall.reached_offsets_sql(is_routed=history.is_routed),
    )
    parameters = {"projection": fold_record.projection_number, "timeline": fold_record.timeline}
    with history.workspace.reading() as connection:
        state_recall.register_wanted_keys(connection, [key])
        row = connection.execute(
            f'SELECT count(*) FROM (FROM ({reached}) WHERE "offset" <= {int(offset)} LIMIT 1)',
            parameters,
        ).fetchone()
    return bool(row and row[0])
