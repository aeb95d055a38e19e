"""What an edit of the code did: the documents that are otherwise in a second history of the same
log, each with the offset from which on it is.

Two histories differ in a document at an offset where its states there differ, whatever rows they
are kept in: a deleted document, and one that was never born, are both not there. Large documents
are compared part by part.
"""

from dataclasses import dataclass

from replay.changes import value_of
from replay.diff import Difference, differences
from replay.history import History

MOST = 10_000
"""Documents that are listed; all are counted."""


@dataclass(frozen=True)
class First:
    """A document, and the first event after which it differs."""

    offset: int
    key: str


@dataclass(frozen=True)
class Edit:
    """Two histories of one log, by the code before an edit and after it, as far as both go."""

    old: History
    new: History
    until: int
    """Events compared: the offset of the next one."""
    documents: int
    """How many documents differ."""
    firsts: tuple[First, ...]
    """The first `MOST` of them, in the order of the log."""

    @property
    def names(self) -> tuple[str, str]:
        """What its two sides are called."""
        return "old code", "new code"

    def differences(self, key: str, offset: int) -> list[Difference]:
        """What is otherwise in a document at a position: before by the old code, after by the new."""
        changes = (history.state(key, offset) for history in (self.old, self.new))
        return differences(*map(value_of, changes))


# Rows that both histories have cancel each other out, so most documents are known to be the same by
# one pass that keeps a number a document. Only the others' states are put in order. (A hash of two
# values is all but their sum, so it is hashed once more: else two differences would cancel out too.)
_FIRSTS = """
WITH kept AS (
    SELECT projection, bucket, key, '' AS part, "offset", state FROM history
    WHERE projection IN ($old, $new) AND timeline = $timeline AND "offset" < $until
    UNION ALL SELECT projection, bucket, key, part, "offset", state FROM parts
    WHERE projection IN ($old, $new) AND timeline = $timeline AND "offset" < $until AND part <> ''
), rows AS (
    SELECT projection = $new AS late, bucket, key, part, "offset", CASE WHEN state IS NULL
        THEN 0::UBIGINT ELSE hash(state) END AS is_now
    FROM kept
), odd AS (
    SELECT bucket, key, part FROM rows GROUP BY ALL
    HAVING bit_xor(hash(hash("offset", is_now))) <> 0
), steps AS (
    SELECT bucket, key, part, "offset", any_value(is_now) FILTER (NOT late) AS old,
        any_value(is_now) FILTER (late) AS new
    FROM rows SEMI JOIN odd USING (bucket, key, part) GROUP BY ALL
), states AS (
    SELECT key, "offset", coalesce(last_value(old IGNORE NULLS) OVER so_far, 0::UBIGINT) AS old,
        coalesce(last_value(new IGNORE NULLS) OVER so_far, 0::UBIGINT) AS new
    FROM steps WINDOW so_far AS (PARTITION BY bucket, key, part ORDER BY "offset")
), firsts AS (
    SELECT min("offset") AS "offset", key FROM states WHERE old <> new GROUP BY key
)
SELECT "offset", key, count(*) OVER () FROM firsts ORDER BY "offset", key LIMIT $most
"""


def compare(old: History, new: History) -> Edit:
    """Where the second history parts from the first one; scans both.

    States are told apart by hashes of 64 bits.
    """
    until = min(old.folded.folded, new.folded.folded)
    parameters = {
        "old": old.folded.number,
        "new": new.folded.number,
        "timeline": old.folded.timeline,
        "until": until,
        "most": MOST,
    }
    with old.workspace.reading() as connection:
        found = connection.execute(_FIRSTS, parameters).fetchall()
    firsts = tuple(First(offset, key) for offset, key, _ in found)
    return Edit(old, new, until, found[0][2] if found else 0, firsts)
