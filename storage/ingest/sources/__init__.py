"""Sources of events: files, tables of a database, topics of Kafka.

A source consists of parts, which are read in order; see `storage.ingest.sources.source_part`.
"""

from collections.abc import Sequence

from storage.errors import SourceError
from storage.ingest.io import object_store
from storage.ingest.sources import files, uris
from storage.ingest.sources.files import STDIN, derive_log_name, is_stream
from storage.ingest.sources.source_part import SourcePart

__all__ = [
    "STDIN",
    "SourcePart",
    "derive_log_name",
    "expand_names",
    "is_stream",
    "open_part",
    "stored_name",
]


def expand_names(names: Sequence[str]) -> list[str]:
    """Return the names of all parts that these names and patterns match.

    Raises `SourceError` if a name matches nothing, or if a part is named twice.
    """
    part_names = [part for name in names for part in _expand_name(name)]
    doubled = [one for one in part_names if part_names.count(one) > 1]
    if doubled:
        raise SourceError(f"{uris.redact_uri(doubled[0])} is named twice; name it once.")
    return part_names


def _expand_name(name: str) -> list[str]:
    if uris.is_uri(name):
        return [name]
    found = [(path, files.detect_database(path)) for path in files.expand_pattern(name)]
    return [path if kind is None else f"{kind}:{path}" for path, kind in found]


def open_part(name: str, format_name: str | None = None) -> SourcePart:
    """Open a part for its sample; `format_name` sets the format of a file instead of detecting it.

    Raises `SourceError` if the part can't be read or its format isn't recognised.
    """
    scheme = uris.source_kind(name)
    if scheme is None:
        return files.open_file(name, format_name)
    if scheme == "kafka":
        from storage.ingest.sources.kafka import topics  # noqa: PLC0415 - the Kafka client is slow to import

        return topics.open_topics(name)
    from storage.ingest.sources.databases import tables  # noqa: PLC0415 - the database drivers are slow to import

    return tables.open_table(name)


def is_remote(name: str) -> bool:
    """Return whether a source is on another machine, so that checking it for changes needs the network."""
    return uris.source_kind(name) in ("postgresql", "kafka") or object_store.is_object(name)


def stored_name(name: str) -> str:
    """Return the name of a part in a workspace: a file's absolute path, or a link without its secrets."""
    return uris.redact_uri(name) if uris.is_uri(name) else files.stored_path(name)
