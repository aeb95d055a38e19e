"""Changing a module of somebody else's when it is imported, or at once where it is already."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, Mapping

Seam = Callable[[Any], None]
"""Changes a module."""


def when_imported(seams: Mapping[str, Seam]) -> None:
    """Change these modules, by name, now or when they are imported."""
    waiting = dict(seams)
    sys.meta_path.insert(0, _Finder(waiting))
    for name in list(waiting):
        module = sys.modules.get(name)
        if module is not None:
            waiting.pop(name)(module)


class _Finder:
    """Lets the others find, and has a module changed after it is loaded."""

    def __init__(self, seams: Dict[str, Seam]) -> None:
        self._seams = seams

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self._seams:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._wrap(spec.loader, self._seams.pop(name))
                return spec
        return None

    def _wrap(self, loader: Any, seam: Seam) -> None:
        load = loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            seam(module)

        loader.exec_module = exec_module
