"""Ctrl+C while another process shares refold's terminal."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def sigint_ignored(hand_on: Callable[..., None] = lambda *_: None) -> Iterator[None]:
    """Ignore Ctrl+C in this process, because it is for the other; call `hand_on` to pass it on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Don't use SIG_IGN, because the other process would inherit it.
    before = signal.signal(signal.SIGINT, hand_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
