"""What all tests share."""

import atexit
import gc
import os
import shutil
import tempfile

from tui.cli import close_standard_error

# Hundreds of commands are started; compiling them each time would be most of their time.
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

# What pytest says last is to be the last.
atexit.register(close_standard_error)


def pytest_collection_finish() -> None:
    """What was imported and collected lives to the end; nobody need look through it again."""
    gc.collect()
    gc.freeze()
