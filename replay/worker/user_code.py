"""Which code is the user's own: not the standard library's, not an installed library's, not ours."""

from __future__ import annotations

import sys
from typing import List


def files() -> List[str]:
    """The files of all loaded modules outside the standard library and site-packages."""
    found = []
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and path.endswith(".py") and not is_foreign(path):
            found.append(path)
    return sorted(set(found))


def is_foreign(path: str) -> bool:
    here = __file__.rsplit("/", 1)[0]
    library = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    inside = path.startswith(library) and ("/lib/python" in path or "\\lib\\" in path.lower())
    return inside or "site-packages" in path or path.startswith(here)
