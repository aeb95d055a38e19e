"""The files that a workspace names: sources, code of projections, and schemas of decoders."""

import json
from typing import Any

from storage.ingest import payload_decoders, provenance
from storage.ingest.io import byte_streams
from storage.ingest.sources import is_remote
from storage.workspace.metadata import read_metadata
from storage.workspace.workspace import Workspace


def list_named_files(workspace: Workspace) -> list[tuple[str, str]]:
    """Return purpose (`source`, `code` or `schema`) and path of each file that a workspace names."""
    with workspace.reading() as connection:
        paths = [origin.fingerprint.path for origin in provenance.read_origins(connection)]
        code = connection.execute("SELECT files FROM projections WHERE NOT superseded").fetchall()
        mapping: Any = read_metadata(connection, "mapping")
    named = [("source", p) for p in paths if p != byte_streams.STDIN and not is_remote(p)]
    named += [("code", path) for (files,) in code for path in json.loads(files)]
    decoders = mapping.get("decoders") if isinstance(mapping, dict) else None
    for how in (decoders or {}).values() if isinstance(decoders, dict) else ():
        named += [("schema", path) for path in payload_decoders.files_in(str(how))]
    return list(dict.fromkeys(named))
