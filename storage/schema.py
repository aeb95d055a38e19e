"""The tables of a workspace: this module alone says which there are and what their columns mean.

`docs/workspace.md` documents them for people who open the file with another DuckDB 2 client;
a test holds the two together. Offsets are 0-based, dense and total. Times are UTC.
"""

from dataclasses import dataclass

import duckdb

from storage import macros

FORMAT_VERSION = 10
"""Written into every workspace. A reader refuses what is newer than itself.

2: invariants, bookmarks, watches, macros; ids are kept uncompressed.
3: changes are numbered, and states packed with zstd.
4: tables `printed` and `upcasts`. 5: a fold says where it begins.
6: large documents are kept in parts. 7: calls to the outside, and how folds were answered. 8: timelines.
9: what was printed and read is told by document. 10: numbers are kept beside states."""


@dataclass(frozen=True)
class Table:
    """A table of the workspace: its columns in order, as (name, DuckDB type)."""

    name: str
    columns: tuple[tuple[str, str], ...]
    ids: frozenset[str] = frozenset()
    """Columns of ids, which hardly repeat: looking for what to compress is a fifth of a load."""
    alike: frozenset[str] = frozenset()
    """Columns of texts each of which is much like the one before: zstd takes half the time to write
    and a third of the room of what DuckDB would choose."""

    @property
    def ddl(self) -> str:
        columns = ", ".join(
            f'"{name}" {kind}{self._compression(name)}' for name, kind in self.columns
        )
        return f'CREATE TABLE "{self.name}" ({columns})'

    def _compression(self, name: str) -> str:
        if name in self.ids:
            return " USING COMPRESSION uncompressed"
        if name in NUMBERS:
            return " USING COMPRESSION alp"
        return " USING COMPRESSION zstd" if name in self.alike else ""


WORKSPACE = Table("workspace", (("name", "VARCHAR"), ("value", "VARCHAR")))
"""Facts about the file itself, a JSON value each: format_version, mapping, types of columns."""

SOURCES = Table(
    "sources",
    (
        ("source", "INTEGER"),
        ("path", "VARCHAR"),
        ("format", "VARCHAR"),
        ("taken", "BIGINT"),
        ("size", "BIGINT"),
        ("modified_ns", "BIGINT"),
        ("head", "VARCHAR"),
        ("tail", "VARCHAR"),
        ("lines", "BIGINT"),
        ("first_offset", "BIGINT"),
        ("events", "BIGINT"),
        ("partial", "BOOLEAN"),
    ),
)
"""The files the log came from, with what is needed to see whether they have changed since."""

_OF_EVENTS = (
    ("time", "TIMESTAMP WITH TIME ZONE"),
    ("stream", "VARCHAR"),
    ("revision", "BIGINT"),
    ("type", "VARCHAR"),
    ("version", "VARCHAR"),
    ("id", "VARCHAR"),
    ("correlation_id", "VARCHAR"),
    ("causation_id", "VARCHAR"),
    ("data", "VARCHAR"),
    ("meta", "VARCHAR"),
)
"""What an event says, wherever it is kept."""

EVENTS = Table(
    "events",
    (
        ("offset", "BIGINT"),
        *_OF_EVENTS,
        ("source", "INTEGER"),
        ("line", "BIGINT"),
        ("source_position", "VARCHAR"),
    ),
    ids=frozenset(("id", "correlation_id", "causation_id", "source_position")),
)

REJECTS = Table(
    "rejects",
    (("source", "INTEGER"), ("line", "BIGINT"), ("reason", "VARCHAR"), ("text", "VARCHAR")),
)

PROJECTIONS = Table(
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
)

FOLDS = Table(
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
)
"""How far each projection has been folded on each timeline: from the event `first` on, which is 0 but
where a projection over all events was asked over a stretch of the log."""

DOCUMENTS = Table(
    "documents",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("ordinal", "BIGINT"),
        ("key", "VARCHAR"),
        ("born", "BIGINT"),
    ),
)
"""Every key that ever had a document, in the order in which they were born."""

NUMBERS = tuple(f"number{n}" for n in range(1, 9))
"""Columns of a history for numbers of its states; see `replay.numbers`."""

HISTORY = Table(
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
        *((name, "DOUBLE") for name in NUMBERS),
    ),
    alike=frozenset(("state",)),
)
"""Every state that ever existed: a row a change; a NULL state is a deletion, and that of a document
`in_parts` is made of its parts as of the change.

`bucket` is the low 32 bits of `md5_number(key)`. Each stretch of the history is sorted by it, so
that DuckDB's zone maps lead to a key's changes without an index over the keys. `change` numbers the
changes in the order of the log from 0, and `previous` is the number of the same document's change
before, so that every state is compared with the one before it without being put in order by key.
Which numbers stand beside the states is said in `folds`."""

PARTS = Table(
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
    alike=frozenset(("state",)),
)
"""What changed of large documents: a row a part and change; see `storage.parts`."""

ROUTES = Table(
    "routes",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("key", "VARCHAR"),
    ),
)

FAILURES = Table(
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
)

PRINTED = Table(
    "printed",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("key", "VARCHAR"),
        ("place", "INTEGER"),
        ("text", "VARCHAR"),
    ),
)
"""What handlers wrote to standard output and standard error, one text a document of an event."""

UPCASTS = Table(
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
)
"""Events that a projection handled as others than they are stored."""

TURNS = Table(
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
)
"""Where an invariant that is a function of the projection's became broken, and whole again."""

CALLS = Table(
    "calls",
    (
        ("call", "BIGINT"),
        ("projection", "VARCHAR"),
        ("timeline", "VARCHAR"),
        ("code", "VARCHAR"),
        ("offset", "BIGINT"),
        ("event_id", "VARCHAR"),
        ("key", "VARCHAR"),
        ("ordinal", "INTEGER"),
        ("occurrence", "INTEGER"),
        ("kind", "VARCHAR"),
        ("port", "VARCHAR"),
        ("operation", "VARCHAR"),
        ("fingerprint", "VARCHAR"),
        ("request", "VARCHAR"),
        ("outcome", "VARCHAR"),
        ("status", "INTEGER"),
        ("headers", "VARCHAR"),
        ("response", "VARCHAR"),
        ("body", "VARCHAR"),
        ("error", "VARCHAR"),
        ("attempts", "INTEGER"),
        ("time", "TIMESTAMP WITH TIME ZONE"),
        ("latency", "DOUBLE"),
        ("correlation_id", "VARCHAR"),
        ("idempotency_key", "VARCHAR"),
        ("origin", "VARCHAR"),
    ),
)
"""Recordings: calls to the outside with their answers, redacted; see `gateway.recordings`.

`projection` is the name of the one that made the call, as its code may change; NULL where it was
imported. `offset` is NULL where nobody knows yet which event caused it. A small JSON answer is the
`response`; any other lies in `bodies`."""

BODIES = Table(
    "bodies",
    (("body", "VARCHAR"), ("media", "VARCHAR"), ("text", "VARCHAR"), ("bytes", "BLOB")),
)
"""Answers by the hash of their content, decoded; as text, or as bytes where they are none."""

DECISIONS = Table(
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
)
"""What became of every call of a fold. One that was answered from a recording, which is `call`, says
no more; any other has its own request and response."""

READS = Table(
    "reads",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("key", "VARCHAR"),
        ("read", "VARCHAR"),
    ),
)
"""Clocks and random numbers that handlers read, such as `datetime.now`."""

TIMELINES = Table(
    "timelines",
    (
        ("timeline", "VARCHAR"),
        ("parent", "VARCHAR"),
        ("offset", "BIGINT"),
        ("inserted", "BIGINT"),
        ("note", "VARCHAR"),
        ("created", "TIMESTAMP WITH TIME ZONE"),
    ),
)
"""Forks. `offset` and `inserted` are the position at which one branches: `900+1` is 900 and 1."""

EDITS = Table(
    "edits",
    (
        ("timeline", "VARCHAR"),
        ("step", "BIGINT"),
        ("edit", "BIGINT"),
        ("undone", "BOOLEAN"),
        ("kind", "VARCHAR"),
        ("offset", "BIGINT"),
        ("inserted", "BIGINT"),
        ("after_offset", "BIGINT"),
        ("after_inserted", "BIGINT"),
        ("moved_offset", "BIGINT"),
        ("moved_inserted", "BIGINT"),
        ("said", "VARCHAR"),
        *_OF_EVENTS,
    ),
)
"""What is otherwise on a fork; see `storage.timelines.edits`."""

FORKED = Table(
    "forked",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("base", "INTEGER"),
        ("since", "BIGINT"),
        ("everything", "BOOLEAN"),
        ("keys", "BIGINT"),
        ("next_change", "BIGINT"),
        ("births", "VARCHAR"),
    ),
)
"""Of a fold on a fork, what it has in common with the fold on its parent, which is that of the
projection `base`: all before the place `since`, and what concerns no document that is `touched`,
unless `everything` may be otherwise. So `history` and the like hold what differs only."""

TOUCHED = Table(
    "touched",
    (("projection", "INTEGER"), ("timeline", "VARCHAR"), ("key", "VARCHAR")),
)
"""Documents that were folded again on a fork."""

BOOKMARKS = Table(
    "bookmarks",
    (
        ("bookmark", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("inserted", "BIGINT"),
        ("projection", "VARCHAR"),
        ("key", "VARCHAR"),
        ("path", "VARCHAR"),
        ("note", "VARCHAR"),
        ("created", "TIMESTAMP WITH TIME ZONE"),
    ),
)
"""Places that a person marked. The projection is a name, as its code may change."""

WATCHES = Table(
    "watches",
    (
        ("watch", "INTEGER"),
        ("over", "VARCHAR"),
        ("condition", "VARCHAR"),
        ("created", "TIMESTAMP WITH TIME ZONE"),
    ),
)
"""Conditions that a person keeps in sight: over `states`, `events`, or `all` documents."""

TABLES = (
    WORKSPACE,
    SOURCES,
    EVENTS,
    REJECTS,
    PROJECTIONS,
    FOLDS,
    DOCUMENTS,
    HISTORY,
    PARTS,
    ROUTES,
    FAILURES,
    TURNS,
    PRINTED,
    UPCASTS,
    CALLS,
    BODIES,
    DECISIONS,
    READS,
    TIMELINES,
    EDITS,
    FORKED,
    TOUCHED,
    BOOKMARKS,
    WATCHES,
)
BY_NAME = {table.name: table for table in TABLES}
OF_FOLDS = (
    *("folds", "forked", "touched", "documents", "history", "parts", "routes", "failures"),
    *("turns", "printed", "upcasts", "decisions", "reads"),
)
"""Those of what was folded, by projection and timeline."""


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create every table and every macro in an empty workspace."""
    for table in TABLES:
        connection.execute(table.ddl)
    macros.create(connection)
