"""Settings and fixtures that all tests share."""

import atexit
import gc
import os
import shutil
import sys
import tempfile

import hypothesis
import pytest

from tests.support import forked_workers, workspace_template

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
    """Close standard error after the summary: tests end with connections that are still open.

    DuckDB's bindings would list them there.
    """
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


atexit.register(_close_standard_error)

for _name, _examples in (("dev", 20), ("ci", 100), ("nightly", 1_000)):
    hypothesis.settings.register_profile(_name, max_examples=_examples, deadline=None)
hypothesis.settings.load_profile("dev")

workspace_template.install()
forked_workers.install()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-workers",
        action="store_true",
        help="start every worker as refold does, instead of forking those of tests that need only a fold",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is missing; fork its workers, unless it is about their processes."""
    for marker in item.iter_markers("external"):
        reason, is_installed = marker.args or ("", True)
        if not is_installed:
            pytest.skip(reason)
    forked_workers.is_forking = not (
        item.config.getoption("real_workers") or item.get_closest_marker("real_worker")
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests whose projection is a program that Python doesn't bring along."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        values = [] if parameters is None else parameters.params.values()
        if any(getattr(value, "runtime", None) for value in values):
            item.add_marker(pytest.mark.external)


def pytest_collection_finish() -> None:
    """Freeze the imported objects: they live to the end, so the collector can skip them."""
    gc.collect()
    gc.freeze()
