"""What the user's code prints, by the event at which it did; nothing of it is lost to the pipe.

The parent keeps it with the history. It also goes where it would have gone, so that the last words
of a process that dies are known.
"""

from __future__ import annotations

import sys
from typing import Any, Dict, List, Tuple

from .text_limits import MAX_TEXT_CHARACTERS, escape_surrogates

ROUTING_PLACE = -1
"""The place of what was printed while the events' keys were asked for."""


class OutputCapture:
    """What was printed since it was last asked for."""

    def __init__(self, current_event: Any) -> None:
        """`mark` holds the offset of the event that is being handled, and the place of its key."""
        self._current_event = current_event
        self._texts: Dict[Tuple[int, int], List[str]] = {}
        self._lengths: Dict[Tuple[int, int], int] = {}

    def start(self) -> None:
        """From now on, to both standard streams."""
        sys.stdout = _CapturedStream(sys.stdout, self._capture)
        sys.stderr = _CapturedStream(sys.stderr, self._capture)

    def take_texts(self) -> List[Dict[str, Any]]:
        """What was printed since the last time, a text for each event and place of a key."""
        found = []
        for (offset, place), texts in sorted(self._texts.items()):
            text, length = "".join(texts), self._lengths[offset, place]
            more = (
                f"… and {length - MAX_TEXT_CHARACTERS:,} more characters"
                if length > MAX_TEXT_CHARACTERS
                else ""
            )
            found.append(
                {
                    "offset": offset,
                    "place": place,
                    "text": escape_surrogates(text[:MAX_TEXT_CHARACTERS] + more),
                }
            )
        self._texts, self._lengths = {}, {}
        return found

    def _capture(self, text: str) -> None:
        at = self._current_event[0], self._current_event[1]
        if at[0] < 0:
            return  # while it is being loaded
        length = self._lengths.get(at, 0)
        if length < MAX_TEXT_CHARACTERS:
            self._texts.setdefault(at, []).append(text[: MAX_TEXT_CHARACTERS - length])
        self._lengths[at] = length + len(text)


class _CapturedStream:
    """A standard stream that somebody listens to."""

    def __init__(self, stream: Any, on_text: Any) -> None:
        self._stream = stream
        self._on_text = on_text

    def write(self, text: str) -> int:
        self._on_text(text)
        return int(self._stream.write(text))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
