"""The files that a workspace names: its sources, the code of its projections, schemas to decode with."""

import json
from typing import Any

from storage.ingest import payload_decoders, provenance
from storage.ingest.io import byte_streams
from storage.ingest.sources import is_remote
from storage.workspace.workspace import Workspace, read_metadata


def list_named_files(workspace: Workspace) -> list[tuple[str, str]]:
    """Return what each file is for, and its path, as the workspace names it."""
    with workspace.reading() as connection:
        paths = [origin.fingerprint.path for origin in provenance.read_origins(connection)]
        code = connection.execute("SELECT files FROM projections WHERE NOT superseded").fetchall()
        mapping: Any = read_metadata(connection, "mapping")
    found = [("source", p) for p in paths if p != byte_streams.STDIN and not is_remote(p)]
    found += [("code", path) for (files,) in code for path in json.loads(files)]
    decoders = mapping.get("decoders") if isinstance(mapping, dict) else None
    for how in (decoders or {}).values() if isinstance(decoders, dict) else ():
        found += [("schema", path) for path in payload_decoders.files_in(str(how))]
    return list(dict.fromkeys(found))
