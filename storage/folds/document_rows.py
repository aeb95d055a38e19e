"""Rows of the table `documents`: every key that ever had a document, in the order of creation."""

from dataclasses import dataclass
from typing import Any

from storage.coordinates.fold_scope import FoldScope
from storage.folds.key_selection import KeySelection
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class DocumentRow:
    """A document as a row of a list."""

    ordinal: int
    """The number of documents that were created before it."""
    key: str
    created_at: int
    """The offset of the event that created it."""


class DocumentRows:
    """Reads the documents of one fold."""

    def __init__(self, workspace: Workspace, scope: FoldScope) -> None:
        self._workspace = workspace
        self._scope = scope

    def read_page(self, first: int, count: int) -> list[DocumentRow]:
        """Return `count` documents from ordinal `first` on."""
        return self._read(
            "ordinal >= ? AND ordinal < ? ORDER BY ordinal", parameters=[first, first + count]
        )

    def count_until(self, position: int) -> int:
        """Return how many documents were created up to a position, including deleted ones."""
        with self._workspace.reading() as connection:
            ((count,),) = connection.execute(
                "SELECT coalesce(max(ordinal) + 1, 0) FROM documents"
                f" WHERE {self._scope.condition} AND born <= ?",
                [position],
            ).fetchall()
        return int(count)

    def find_ordinal(self, key: str) -> int | None:
        """Return the document's ordinal; None if there is no such key. Scans the keys."""
        rows = self._read("key = ?", parameters=[key])
        return rows[0].ordinal if rows else None

    def find_containing(self, text: str, limit: int) -> list[DocumentRow]:
        """Return documents whose key contains a text, ignoring case. Scans the keys."""
        return self._read(
            f"contains(lower(key), lower(?)) ORDER BY ordinal LIMIT {int(limit)}", parameters=[text]
        )

    def read_created_since(self, position: int, selection: KeySelection) -> list[DocumentRow]:
        """Return the selected documents that were created at a position or later."""
        return self._read(
            f"born >= ? AND {selection.condition} ORDER BY ordinal", selection, [position]
        )

    def read_others_created_since(
        self, position: int, selection: KeySelection
    ) -> list[DocumentRow]:
        """Return the documents that aren't selected and were created at a position or later."""
        return self._read(
            f"born >= ? AND NOT ({selection.condition}) ORDER BY ordinal", selection, [position]
        )

    def _read(
        self, condition: str, selection: KeySelection | None = None, parameters: Any = ()
    ) -> list[DocumentRow]:
        with self._workspace.reading() as connection:
            if selection is not None:
                selection.register(connection)
            rows = connection.execute(
                f"SELECT ordinal, key, born FROM documents WHERE {self._scope.condition}"
                f" AND {condition}",
                list(parameters),
            ).fetchall()
        return [DocumentRow(*row) for row in rows]
