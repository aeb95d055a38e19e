"""Tells the user's code from the standard library, installed libraries and the worker."""

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
    """Return the files of all loaded modules of the user's code, sorted."""
    files = []
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and path.endswith(".py") and not is_foreign_file(path):
            files.append(path)
    return sorted(set(files))


def is_foreign_file(path: str) -> bool:
    """Return whether a file is the standard library's, an installed library's or the worker's."""
    prefixes = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    is_in_library = path.startswith(prefixes) and (
        "/lib/python" in path or "\\lib\\" in path.lower()
    )
    return is_in_library or "site-packages" in path or path.startswith(WORKER_FOLDER)
