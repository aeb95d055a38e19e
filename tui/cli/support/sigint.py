"""Ctrl+C while something long is done that can be stopped in between."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def catch_sigint() -> Iterator[Callable[[], bool]]:
    """Ctrl+C is noted, and ends nothing by itself; what is given tells whether it was pressed."""
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield stop.is_set
    finally:
        signal.signal(signal.SIGINT, before)
