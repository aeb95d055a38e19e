"""Settings and fixtures that all tests share."""

import atexit
import gc
import os
import shutil
import sys
import tempfile

# Tests start hundreds of commands; without .pyc files they would spend most time compiling.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

pytest_plugins = [
    "tests.support.projection_studio",
    "tests.support.gateway_caller",
    "tests.support.fork_bench",
    "tests.support.source_desk",
]

# Keep the tests apart from the cache and the configuration of the person who runs them.
_HOME = tempfile.mkdtemp(prefix="refold-tests-")
os.environ["XDG_CACHE_HOME"] = f"{_HOME}/cache"
os.environ["XDG_CONFIG_HOME"] = f"{_HOME}/config"
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)


def _close_standard_error() -> None:
    """Close standard error, where DuckDB would list the objects that tests and fixtures still hold."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


# Close standard error last, after pytest has printed its summary.
atexit.register(_close_standard_error)


def pytest_collection_finish() -> None:
    """Freeze the imported objects: they live to the end, so the collector can skip them."""
    gc.collect()
    gc.freeze()
