"""Rules for the cells of a workspace's tables, as SQL conditions.

Everything that refold writes satisfies them, and the code that reads a workspace relies on that. The
rules exclude values that would make this code fail, not values that are merely unlikely.
"""

from dataclasses import dataclass

from storage.workspace.schema import TABLES


@dataclass(frozen=True)
class CellRule:
    """A rule that every row of a healthy table satisfies."""

    broken: str
    """SQL condition that is true for a row that breaks the rule; NULL counts as false."""
    problem: str
    """The problem of such a row, as in `events.time is out of range`."""


_LARGEST = 1 << 60
"""Bound for integers, so that sums of a few of them fit in 64 bits."""
_FIRST_TIME = "TIMESTAMPTZ '0001-01-01 00:00:00+00'"
_LAST_TIME = "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"

REQUIRED = {
    "workspace": "name value",
    "sources": "source path format taken size modified_ns head tail lines first_offset events partial",
    "events": "offset",
    "projections": "projection name hash reference python files invariants settings created superseded",
    "folds": "projection timeline first folded skipped unhandled failures keys changes parts calls"
    " answers seconds digest",
    "documents": "projection timeline ordinal key born",
    "history": "projection timeline bucket key offset change in_parts",
    "parts": "projection timeline bucket key offset change part",
    "routes": "projection timeline offset key",
    "failures": "projection timeline offset type error traceback",
    "turns": "projection timeline invariant offset key broken",
    "printed": "projection timeline offset place text",
    "upcasts": "projection timeline offset",
    "calls": "call ordinal occurrence kind port operation fingerprint request outcome attempts"
    " latency origin",
    "bodies": "body media",
    "decisions": "projection timeline offset ordinal decision",
    "reads": "projection timeline offset read",
    "timelines": "timeline parent offset inserted note created",
    "edits": "timeline step edit undone kind offset inserted",
    "forked": "projection timeline base since everything keys next_change",
    "touched": "projection timeline key",
    "bookmarks": "bookmark timeline offset inserted note created",
    "watches": "watch over condition created",
}
"""Columns that are never NULL."""

_SMALLEST = {
    "-1": "sources.size timelines.offset edits.offset edits.after_offset edits.moved_offset"
    " bookmarks.offset failures.offset printed.offset printed.place decisions.offset reads.offset",
}
"""Integer columns that may be negative, by their least value."""
_ANY_NUMBER = frozenset(
    ("events.revision", "edits.revision", "sources.modified_ns", "calls.status")
)
"""Integer columns with values from a source, which may be any number."""

JSON = {
    "workspace": "value",
    "events": "data meta",
    "projections": "files invariants",
    "folds": "unhandled numbers",
    "history": "state",
    "parts": "state",
    "upcasts": "data",
    "calls": "request headers response",
    "decisions": "request response",
    "edits": "data meta",
    "forked": "births",
}
"""Columns that contain JSON."""

_ONE_OF = {
    "edits.kind": "drop replace insert move answers base",
    "calls.kind": "query command",
    "calls.outcome": "ok error timeout cancelled pending",
    "calls.origin": "live imported stub",
    "decisions.kind": "query command",
    "decisions.decision": "recorded stubbed suppressed blocked missed live pending",
    "watches.over": "states events all",
}
"""Columns with a fixed set of words."""

_MORE = {
    "history": [
        CellRule(
            "in_parts AND state <> '{}'", "history.state has a document that is stored in parts"
        ),
        CellRule(
            "bucket <> md5_number(key) & 4294967295", "history.bucket is not the hash of its key"
        ),
    ],
    "parts": [
        CellRule(
            "bucket <> md5_number(key) & 4294967295", "parts.bucket is not the hash of its key"
        ),
        CellRule(
            "len(list_filter(place, lambda n: n IS NULL OR n < 0)) > 0",
            "parts.place is out of range",
        ),
    ],
    "edits": [
        CellRule(
            "kind IN ('insert', 'move') AND (after_offset IS NULL OR after_inserted IS NULL)",
            "edits.after_offset is missing",
        ),
        CellRule(
            "kind = 'move' AND (moved_offset IS NULL OR moved_inserted IS NULL)",
            "edits.moved_offset is missing",
        ),
        CellRule("kind IN ('answers', 'base') AND said IS NULL", "edits.said is missing"),
        CellRule("kind = 'answers' AND NOT json_valid(said)", "edits.said is not JSON"),
    ],
}
"""Rules over several columns."""


def rules_of(table: str) -> list[CellRule]:
    """Return all rules of a table, by its name."""
    return [*_by_table()[table], *_MORE.get(table, ())]


def _by_table() -> dict[str, list[CellRule]]:
    found: dict[str, list[CellRule]] = {}
    smallest = {name: least for least, names in _SMALLEST.items() for name in names.split()}
    for table in TABLES:
        required = REQUIRED.get(table.name, "").split()
        json = JSON.get(table.name, "").split()
        rules = found.setdefault(table.name, [])
        for column, kind in table.columns:
            name, quoted = f"{table.name}.{column}", f'"{column}"'
            if column in required:
                rules.append(CellRule(f"{quoted} IS NULL", f"{name} is missing"))
            if kind in ("BIGINT", "INTEGER") and name not in _ANY_NUMBER:
                least = smallest.get(name, "0")
                outside = f"{quoted} < {least} OR {quoted} > {_LARGEST}"
                rules.append(CellRule(outside, f"{name} is out of range"))
            if kind == "TIMESTAMP WITH TIME ZONE":
                outside = f"{quoted} < {_FIRST_TIME} OR {quoted} > {_LAST_TIME}"
                rules.append(CellRule(outside, f"{name} is out of range"))
            if kind == "DOUBLE" and table.name != "history":
                outside = f"NOT isfinite({quoted}) OR {quoted} < 0"
                rules.append(CellRule(outside, f"{name} is out of range"))
            if column in json:
                rules.append(CellRule(f"NOT json_valid({quoted})", f"{name} is not JSON"))
            if name in _ONE_OF:
                words = ", ".join(f"'{word}'" for word in _ONE_OF[name].split())
                rules.append(CellRule(f"{quoted} NOT IN ({words})", f"{name} has an unknown value"))
    return found
