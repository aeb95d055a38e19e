"""Ctrl+C for long work that checks between its steps whether to stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def catch_sigint() -> Iterator[Callable[[], bool]]:
    """Catch Ctrl+C, and yield a function that returns whether it was pressed."""
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield stop.is_set
    finally:
        signal.signal(signal.SIGINT, before)
