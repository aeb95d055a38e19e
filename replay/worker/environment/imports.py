"""Keeps refold's own packages out of the user's imports.

Where the worker runs under refold's own interpreter, `import storage` would find ours if the user
has none. A module of the user's own by that name is found as it would be anywhere else.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from typing import Any, Optional, Sequence

from ..protocol.user_code import WORKER_FOLDER

_REFOLD_PACKAGES = ("tui", "replay", "gateway", "storage", "sample_logs")


class _HidingFinder:
    """First on `sys.meta_path`: answers for our names only, and never with our folders."""

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
    """From now on, nothing of refold's can be imported by its own name."""
    root = os.path.dirname(os.path.dirname(os.path.realpath(WORKER_FOLDER)))
    sys.meta_path.insert(0, _HidingFinder(root))
