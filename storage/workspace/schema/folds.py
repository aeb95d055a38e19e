"""Tables for folds: projections, their progress, every state, and the other results of workers."""

from storage.workspace.schema.table import TableSchema, emptied

PROJECTIONS = TableSchema(
    "projections",
    (
        ("projection", "INTEGER"),
        ("name", "VARCHAR"),
        ("hash", "VARCHAR"),
        ("reference", "VARCHAR"),
        ("python", "VARCHAR"),
        ("files", "VARCHAR"),
        ("invariants", "VARCHAR"),
        ("settings", "VARCHAR"),
        ("created", "TIMESTAMP WITH TIME ZONE"),
        ("superseded", "BOOLEAN"),
    ),
    values=emptied("name", "reference", "python", "files", "invariants", "settings"),
    without_values=frozenset(("projection", "hash", "created", "superseded")),
)

FOLDS = TableSchema(
    "folds",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("first", "BIGINT"),
        ("folded", "BIGINT"),
        ("skipped", "BIGINT"),
        ("unhandled", "VARCHAR"),
        ("failures", "BIGINT"),
        ("keys", "BIGINT"),
        ("changes", "BIGINT"),
        ("parts", "BIGINT"),
        ("plain", "BOOLEAN"),
        ("calls", "BIGINT"),
        ("answers", "BIGINT"),
        ("room", "VARCHAR"),
        ("numbers", "VARCHAR"),
        ("seconds", "DOUBLE"),
        ("digest", "VARCHAR"),
    ),
    values=emptied("unhandled", "numbers"),
    without_values=frozenset(
        (
            "projection",
            "timeline",
            "first",
            "folded",
            "skipped",
            "failures",
            "keys",
            "changes",
            "parts",
            "plain",
            "calls",
            "answers",
            "room",
            "seconds",
            "digest",
        )
    ),
)
"""The progress of each projection on each timeline. `first` is the first folded event; it is 0 unless a
projection over all events was folded over a part of the log."""

DOCUMENTS = TableSchema(
    "documents",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("ordinal", "BIGINT"),
        ("key", "VARCHAR"),
        ("born", "BIGINT"),
    ),
    values=emptied("key"),
    without_values=frozenset(("projection", "timeline", "ordinal", "born")),
)
"""Every key that ever had a document, in the order of creation; `born` is the position of its first change."""

NUMBER_COLUMNS = tuple(f"number{n}" for n in range(1, 9))
"""Columns of the history that store numbers taken from states; see `replay.query.number_columns`."""

HISTORY = TableSchema(
    "history",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("bucket", "UINTEGER"),
        ("key", "VARCHAR"),
        ("offset", "BIGINT"),
        ("change", "BIGINT"),
        ("previous", "BIGINT"),
        ("in_parts", "BOOLEAN"),
        ("state", "VARCHAR"),
        *((name, "DOUBLE") for name in NUMBER_COLUMNS),
    ),
    values=emptied("key", "state", *NUMBER_COLUMNS),
    without_values=frozenset(
        ("projection", "timeline", "bucket", "offset", "change", "previous", "in_parts")
    ),
    similar_text_columns=frozenset(("state",)),
    double_columns=frozenset(NUMBER_COLUMNS),
)
"""Every state that ever existed, a row for each change. A NULL `state` is a deletion. The state of a
document `in_parts` consists of its parts at that change.

`bucket` is the low 32 bits of `md5_number(key)`. Each stretch of the history is sorted by it, because
DuckDB's zone maps then find a key's changes without an index. `change` numbers the changes from 0 in
the order of the log. `previous` is the number of the same document's previous change; with it each
state is compared with the one before without sorting by key. `folds.numbers` lists the paths of the
number columns."""

PARTS = TableSchema(
    "parts",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("bucket", "UINTEGER"),
        ("key", "VARCHAR"),
        ("offset", "BIGINT"),
        ("change", "BIGINT"),
        ("part", "VARCHAR"),
        ("place", "BIGINT[]"),
        ("state", "VARCHAR"),
    ),
    values=emptied("key", "part", "state"),
    without_values=frozenset(("projection", "timeline", "bucket", "offset", "change", "place")),
    similar_text_columns=frozenset(("state",)),
)
"""Changes of large documents, a row for each part of a change; see `storage.workspace.document_parts`."""

ROUTES = TableSchema(
    "routes",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("key", "VARCHAR"),
    ),
    values=emptied("key"),
    without_values=frozenset(("projection", "timeline", "offset")),
)

FAILURES = TableSchema(
    "failures",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("key", "VARCHAR"),
        ("type", "VARCHAR"),
        ("error", "VARCHAR"),
        ("traceback", "VARCHAR"),
    ),
    values=emptied("key", "type", "error", "traceback"),
    without_values=frozenset(("projection", "timeline", "offset")),
)

PRINTED = TableSchema(
    "printed",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("key", "VARCHAR"),
        ("place", "INTEGER"),
        ("text", "VARCHAR"),
    ),
    values=emptied("key", "text"),
    without_values=frozenset(("projection", "timeline", "offset", "place")),
)
"""Text that handlers wrote to standard output and standard error, one row for each document of an event."""

UPCASTS = TableSchema(
    "upcasts",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("stream", "VARCHAR"),
        ("type", "VARCHAR"),
        ("version", "VARCHAR"),
        ("data", "VARCHAR"),
    ),
    values=emptied("stream", "type", "version", "data"),
    without_values=frozenset(("projection", "timeline", "offset")),
)
"""Events that a projection's `upcast` changed, as its handlers received them."""

TURNS = TableSchema(
    "turns",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("invariant", "VARCHAR"),
        ("offset", "BIGINT"),
        ("key", "VARCHAR"),
        ("broken", "BOOLEAN"),
        ("error", "VARCHAR"),
    ),
    values=emptied("key", "error"),
    without_values=frozenset(("projection", "timeline", "invariant", "offset", "broken")),
)
"""Offsets at which an invariant that is a function of the projection became broken or valid again."""

DECISIONS = TableSchema(
    "decisions",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("key", "VARCHAR"),
        ("ordinal", "INTEGER"),
        ("call", "BIGINT"),
        ("kind", "VARCHAR"),
        ("port", "VARCHAR"),
        ("operation", "VARCHAR"),
        ("request", "VARCHAR"),
        ("response", "VARCHAR"),
        ("decision", "VARCHAR"),
        ("reason", "VARCHAR"),
        ("stack", "VARCHAR"),
    ),
    values=emptied("key", "operation", "request", "response", "reason", "stack"),
    without_values=frozenset(
        ("projection", "timeline", "offset", "ordinal", "call", "kind", "port", "decision")
    ),
)
"""The gateway's decision for every call of a fold. For an answer from a recording, `call` is its number,
and request and response are empty; any other row has its own request and response."""

READS = TableSchema(
    "reads",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("key", "VARCHAR"),
        ("read", "VARCHAR"),
    ),
    values=emptied("key"),
    without_values=frozenset(("projection", "timeline", "offset", "read")),
)
"""Clocks and random numbers that handlers read, such as `datetime.now`."""
