"""Patches third-party modules when they are imported, or at once if they already are."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, Mapping

ModulePatch = Callable[[Any], None]
"""Patches a module in place."""


def patch_when_imported(patches: Mapping[str, ModulePatch]) -> None:
    """Apply each patch to the module of its name, now or when it is imported."""
    waiting = dict(patches)
    sys.meta_path.insert(0, _PatchingFinder(waiting))
    for name in list(waiting):
        module = sys.modules.get(name)
        if module is not None:
            waiting.pop(name)(module)


class _PatchingFinder:
    """Lets the other finders find a module, and patches it after it was loaded."""

    def __init__(self, patches: Dict[str, ModulePatch]) -> None:
        self._patches = patches

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self._patches:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._wrap(spec.loader, self._patches.pop(name))
                return spec
        return None

    def _wrap(self, loader: Any, patch: ModulePatch) -> None:
        load = loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            patch(module)

        loader.exec_module = exec_module
