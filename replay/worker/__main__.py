"""Started by path under the user's interpreter: loads this folder as `refold_worker` and runs it."""

import importlib.util
import os
import sys


def _load():
    here = os.path.dirname(os.path.abspath(__file__))
    # The interpreter puts this folder first on the path; nobody may import our parts by accident.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = importlib.util.spec_from_file_location(
        "refold_worker",
        os.path.join(here, "__init__.py"),
        submodule_search_locations=[here],
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["refold_worker"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    _load()
    if sys.argv[2:] == ["step"]:
        from refold_worker import stepping

        stepping.main()
    else:
        from refold_worker import process

        process.main()
