"""Ctrl+C, while another process holds the terminal that is ours too."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def sigint_ignored(hand_on: Callable[..., None] = lambda *_: None) -> Iterator[None]:
    """It is for that process, and not for this one; `hand_on` is called where that needs it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # No SIG_IGN, as the other process would begin with it.
    before = signal.signal(signal.SIGINT, hand_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
