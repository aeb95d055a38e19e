"""What was folded: projections, how far they are, every state, and what else workers told."""

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
"""How far each projection has been folded on each timeline: from the event `first` on, which is 0 but
where a projection over all events was asked over a stretch of the log."""

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
"""Every key that ever had a document, in the order in which they were born."""

NUMBER_COLUMNS = tuple(f"number{n}" for n in range(1, 9))
"""Columns of a history for numbers of its states; see `replay.query.number_columns`."""

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
"""Every state that ever existed: a row a change; a NULL state is a deletion, and that of a document
`in_parts` is made of its parts as of the change.

`bucket` is the low 32 bits of `md5_number(key)`. Each stretch of the history is sorted by it, so
that DuckDB's zone maps lead to a key's changes without an index over the keys. `change` numbers the
changes in the order of the log from 0, and `previous` is the number of the same document's change
before, so that every state is compared with the one before it without being put in order by key.
Which numbers stand beside the states is said in `folds`."""

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
"""What changed of large documents: a row a part and change; see `storage.workspace.document_parts`."""

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
"""What handlers wrote to standard output and standard error, one text a document of an event."""

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
"""Events that a projection handled as others than they are stored."""

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
"""Where an invariant that is a function of the projection's became broken, and whole again."""

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
"""What became of every call of a fold. One that was answered from a recording, which is `call`, says
no more; any other has its own request and response."""

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
