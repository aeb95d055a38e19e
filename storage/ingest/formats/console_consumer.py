"""The output of `kafka-console-consumer`: one record per line, with optional parts separated by tabs.

Source: Kafka's DefaultMessageFormatter, which writes timestamp, partition, offset, headers, key and
value in this order.
"""

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa

from storage.ingest.formats import SAMPLE_RECORDS, ReadPass, columns, lines
from storage.ingest.mapping import FieldMapping, Record
from storage.quoting import quote_literal

_FIRST_BYTES = re.compile(rb"(CreateTime|LogAppendTime):\d+(\t|\r?\n|$)|NoTimestampType\t")
_LINE = (
    r"^(?:(CreateTime|LogAppendTime):(\d+)|NoTimestampType)\t(?:Partition:(\d+)\t)?"
    r"(?:Offset:(\d+)\t)?(?:Delivery:\d+\t)?(?:Epoch:\d+\t)?"
    r"(?:(NO_HEADERS|[^\t:]+:[^\t]*)\t(?P<both>[^\t]*\t))?(?:([^\t]*)\t)?(.*)$"
)
_GROUP_NAMES = ("tstype", "timestamp", "partition", "offset", "headers", "behind", "key", "value")
_COLUMN_TYPES = {
    **dict.fromkeys(("tstype", "partition", "offset", "key", "value"), "VARCHAR"),
    "timestamp": "VARCHAR",
    "headers": "VARCHAR",
}


class ConsoleConsumer(columns.ColumnFormat):
    """Dumps of a topic that `kafka-console-consumer` printed."""

    name = "text"
    is_whole_file = False

    def recognises(self, name: str, head: bytes) -> bool:  # noqa: ARG002 - the bytes decide
        return _FIRST_BYTES.match(head) is not None

    def read_sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - the head suffices
        texts = head.decode(errors="replace").splitlines()[:SAMPLE_RECORDS]
        connection = columns.connect_reader()
        try:
            connection.register("console", pa.table({"l": texts, "line": list(range(len(texts)))}))
            rows = connection.sql(f"SELECT * EXCLUDE (line) FROM {_RECORDS_SQL}").to_arrow_table()
            return rows.to_pylist()  # type: ignore[no-any-return]
        finally:
            connection.close()

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        connection = columns.connect_reader()
        query = columns.build_event_query(_COLUMN_TYPES, mapping, _RECORDS_SQL, line="line")
        try:
            for chunk in lines.read_lines(reading):
                connection.register("console", pa.table({"l": chunk.texts, "line": chunk.numbers}))
                yield from columns.cast_to_event_schema(
                    connection.sql(query).to_arrow_reader(columns.BATCH_ROWS)
                )
        finally:
            connection.close()


def _headers_sql(text: str) -> str:
    """Return SQL that turns headers such as `a:1,b:2` into a JSON list of keys and values."""
    pair = "{'key': split_part(h, ':', 1), 'value': substr(h, length(split_part(h, ':', 1)) + 2)}"
    pairs = f"list_transform(string_split({text}, ','), lambda h: {pair})"
    return f"CASE WHEN {text} <> '' AND {text} <> 'NO_HEADERS' THEN CAST(to_json({pairs}) AS VARCHAR) END"


_GROUPS_SQL = "regexp_extract(rtrim(l, chr(10) || chr(13)), {}, [{}])".format(
    quote_literal(_LINE.replace("(?P<both>", "(")), ", ".join(map(quote_literal, _GROUP_NAMES))
)
_RECORDS_SQL = (
    "(SELECT nullif(p.tstype, '') AS tstype, nullif(p.\"timestamp\", '') AS \"timestamp\","
    " nullif(p.partition, '') AS partition, nullif(p.\"offset\", '') AS \"offset\","
    f" {_headers_sql('p.headers')} AS headers,"
    " nullif(CASE WHEN p.headers <> '' THEN rtrim(p.behind, chr(9))"
    # Headers printed without a key look like a key, except for the text NO_HEADERS.
    " WHEN p.key NOT IN ('', 'NO_HEADERS') THEN p.key END, 'null') AS key,"
    " nullif(CASE WHEN p.tstype = '' AND p.value = '' THEN rtrim(l, chr(10) || chr(13))"
    " ELSE p.value END, 'null')"
    f" AS value, line FROM (SELECT *, {_GROUPS_SQL} AS p FROM console))"
)
