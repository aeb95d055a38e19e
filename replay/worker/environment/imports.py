"""Hides refold's own packages from the user's imports.

If the worker runs under refold's interpreter, `import storage` could find refold's package. The user's
own module of that name is still found.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from typing import Any, Optional, Sequence

from ..protocol.user_code import WORKER_FOLDER

_REFOLD_PACKAGES = ("tui", "replay", "gateway", "storage", "sample_logs")


class _HidingFinder:
    """First on `sys.meta_path`; finds refold's package names, but never in refold's folders."""

    def __init__(self, root: str) -> None:
        self._root = root

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Any = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if path is not None or name not in _REFOLD_PACKAGES:
            return None
        for entry in sys.path:
            spec = importlib.machinery.PathFinder.find_spec(name, [entry], target)
            paths = (
                []
                if spec is None
                else [spec.origin or "", *(spec.submodule_search_locations or [])]
            )
            if spec is not None and not any(
                self._is_refold_path(path_entry) for path_entry in paths
            ):
                return spec
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def _is_refold_path(self, path: str) -> bool:
        return any(
            os.path.realpath(path).startswith(os.path.join(self._root, name))
            for name in _REFOLD_PACKAGES
        )


def hide_refold_packages() -> None:
    """Hide refold's packages from every later import."""
    root = os.path.dirname(os.path.dirname(os.path.realpath(WORKER_FOLDER)))
    sys.meta_path.insert(0, _HidingFinder(root))
