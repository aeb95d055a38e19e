"""Entry point, run by path under the user's interpreter: loads this folder as `refold_worker`."""

import json
import os
import struct
import sys

OLDEST_PYTHON = (3, 9)


def _load_worker_package():
    import importlib.util  # noqa: PLC0415 - an interpreter that is too old may not have it

    here = os.path.dirname(os.path.abspath(__file__))
    # Python puts the folder of a script first on the path; user code must not import from ours.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = importlib.util.spec_from_file_location(
        "refold_worker",
        os.path.join(here, "__init__.py"),
        submodule_search_locations=[here],
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["refold_worker"] = module
    spec.loader.exec_module(module)


def _report_old_python():
    """Send an `unusable` frame, because this Python is too old to read the rest of the worker."""
    template = "%s is Python %d.%d.%d, and the worker needs %d.%d or later"
    error = template % ((sys.executable,) + tuple(sys.version_info[:3]) + OLDEST_PYTHON)
    text = json.dumps({"kind": "unusable", "error": error, "traceback": "", "parts": []}).encode()
    os.write(json.loads(sys.argv[1])["outgoing"], struct.pack("<I", len(text)) + text)


if __name__ == "__main__":
    if sys.version_info < OLDEST_PYTHON:
        _report_old_python()
        sys.exit(1)
    _load_worker_package()
    if sys.argv[2:] == ["step"]:
        from refold_worker import debugger

        debugger.main()
    else:
        from refold_worker import main

        main.main()
