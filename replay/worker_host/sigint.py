"""The one way to handle signals such as Ctrl+C for a while: the earlier handlers always come back."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def handled_signals(handler: Callable[..., None], *numbers: signal.Signals) -> Iterator[None]:
    """Call `handler` for these signals while the context is open; off the main thread, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals on its main thread only
        return
    before: dict[signal.Signals, Any] = {}
    try:
        for number in numbers:
            before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            # A handler that wasn't set by Python can't be restored.
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


@contextmanager
def catch_interrupt(
    *numbers: signal.Signals,
) -> Iterator[Callable[[], bool]]:
    """Catch Ctrl+C, or these signals, and yield a function that returns whether one came.

    It is for long work that checks between its steps whether to stop.
    """
    stop = threading.Event()
    with handled_signals(lambda *_: stop.set(), *(numbers or (signal.SIGINT,))):
        yield stop.is_set


@contextmanager
def sigint_ignored(hand_on: Callable[..., None] = lambda *_: None) -> Iterator[None]:
    """Ignore Ctrl+C, because it is for a process that shares the terminal; call `hand_on` to pass it on."""
    # Don't use SIG_IGN, because the other process would inherit it.
    with handled_signals(hand_on, signal.SIGINT):
        yield
