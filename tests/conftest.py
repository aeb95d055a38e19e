"""What all tests share."""

import atexit
import gc
import os
import shutil
import tempfile

from tui.cli import nothing_more

# Hundreds of commands are started; compiling them each time would be most of their time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What refold remembers of files is nobody's who runs the tests.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="refold-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

# What pytest says last is to be the last.
atexit.register(nothing_more)


def pytest_collection_finish() -> None:
    """What was imported and collected lives to the end; nobody need look through it again."""
    gc.collect()
    gc.freeze()
