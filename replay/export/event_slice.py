"""A slice of the log: the events that reached one document, as JSON lines that can be loaded again.

Data goes out as it was kept, with all digits; the offsets are those of the whole log.
"""

from pathlib import Path

from replay.event_fold import state_recall
from replay.history.history import History

LINE = """
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
"""SQL for an event as a line of JSON. A line break in it can only be between its parts."""


def write(history: History, key: str | None, offset: int, file: Path) -> int:
    """Write the events up to an offset that reached a document, and return how many.

    Where documents are routed, the event at the offset is one of them: that it should have reached
    the document may be what is wrong. Without a key it is the only one.
    """
    routed = history.routed
    here = f'"offset" = {int(offset)}' if routed or key is None else "false"
    query = (
        f'SELECT {LINE} AS line FROM events WHERE ("offset" IN ({state_recall.reached(routed=routed)})'
        f' OR {here}) AND "offset" <= {int(offset)} ORDER BY "offset"'
    )
    folded, count = history.folded, 0
    with history.workspace.reading() as connection, file.open("w", encoding="utf-8") as out:
        state_recall.want(connection, [] if key is None else [key])
        names = {"projection": folded.number, "timeline": folded.timeline}
        for batch in connection.sql(query, params=names).to_arrow_reader(10_000):
            count += batch.num_rows
            out.write("".join(batch.column(0).to_pylist()))
    return count


def reaches(history: History, key: str, offset: int) -> bool:
    """Whether any event up to an offset reached the document."""
    folded, reached = history.folded, state_recall.reached(routed=history.routed)
    names = {"projection": folded.number, "timeline": folded.timeline}
    with history.workspace.reading() as connection:
        state_recall.want(connection, [key])
        row = connection.execute(
            f'SELECT count(*) FROM (FROM ({reached}) WHERE "offset" <= {int(offset)} LIMIT 1)',
            names,
        ).fetchone()
    return bool(row and row[0])
