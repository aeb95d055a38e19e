"""Which code is the user's own: not the standard library's, not an installed library's, not ours."""

from __future__ import annotations

import os
import sys
from typing import Any, Dict, List

WORKER_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder of the worker's own code."""


def is_worker_code(module_globals: Dict[str, Any]) -> bool:
    """Return whether these are the globals of one of the worker's own modules."""
    package = module_globals.get("__package__") or ""
    return bool(package) and package.split(".")[0] == __name__.split(".")[0]


def list_user_files() -> List[str]:
    """The files of all loaded modules outside the standard library and site-packages."""
    found = []
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and path.endswith(".py") and not is_foreign_file(path):
            found.append(path)
    return sorted(set(found))


def is_foreign_file(path: str) -> bool:
    library = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    inside = path.startswith(library) and ("/lib/python" in path or "\\lib\\" in path.lower())
    return inside or "site-packages" in path or path.startswith(WORKER_FOLDER)
