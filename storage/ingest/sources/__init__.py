"""Sources: what a person names as one log: files, a database's table, topics of Kafka.

Each is a list of pieces, in order; see `storage.ingest.sources.source_part`.
"""

from collections.abc import Sequence

from storage.errors import SourceError
from storage.ingest.io import object_store
from storage.ingest.sources import files, uris
from storage.ingest.sources.files import STDIN, is_stream, log_name
from storage.ingest.sources.source_part import Piece

__all__ = ["STDIN", "Piece", "expand", "is_stream", "known_as", "log_name", "look"]


def expand(names: Sequence[str]) -> list[str]:
    """The pieces that these names and patterns stand for, each by its name.

    Raises `SourceError` where there is none.
    """
    found = [piece for name in names for piece in _expanded(name)]
    doubled = [one for one in found if found.count(one) > 1]
    if doubled:
        raise SourceError(f"{uris.public(doubled[0])} is named twice.")
    return found


def _expanded(name: str) -> list[str]:
    if uris.is_link(name):
        return [name]
    found = [(path, files.database(path)) for path in files.expand(name)]
    return [path if kind is None else f"{kind}:{path}" for path, kind in found]


def look(name: str, wanted: str | None = None) -> Piece:
    """Open a piece for a first look; `wanted` names the format of a file.

    Raises `SourceError` for what can't be read or recognised.
    """
    scheme = uris.scheme(name)
    if scheme is None:
        return files.look(name, wanted)
    if scheme == "kafka":
        from storage.ingest.sources.kafka import topics  # noqa: PLC0415 - its library is large

        return topics.look(name)
    from storage.ingest.sources.databases import tables  # noqa: PLC0415 - as above

    return tables.look(name)


def is_remote(name: str) -> bool:
    """Whether it is elsewhere, so that nobody knows what became of it without asking there."""
    return uris.scheme(name) in ("postgresql", "kafka") or object_store.is_object(name)


def known_as(name: str) -> str:
    """How a piece is named in a workspace: a file by its whole path, a link without its secrets."""
    return uris.public(name) if uris.is_link(name) else files.resolved(name)
