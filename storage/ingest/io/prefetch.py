"""Prefetch an iterator's items in a thread, because reading, parsing and writing can then overlap.

The queue of waiting items is bounded. An exception is raised in the consumer in place of the next
item. Closing the generator ends the thread.
"""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")
_END_OF_ITEMS = object()


def prefetch_items(items: Iterator[T], depth: int = 1) -> Generator[T, None, None]:
    """Yield the same items in the same order; a thread fetches up to `depth` of them in advance."""
    queued: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                queued.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def fetch() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END_OF_ITEMS)
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer
            put(_RaisedError(error))

    thread = threading.Thread(target=fetch, daemon=True, name="prefetch")
    thread.start()
    try:
        while (item := queued.get()) is not _END_OF_ITEMS:
            if isinstance(item, _RaisedError):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


class _RaisedError:
    def __init__(self, error: BaseException) -> None:
        self.error = error
