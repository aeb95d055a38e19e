"""Captures what the user's code prints, by the event during which it did.

The parent stores the text with the history. It also goes to the real standard streams, because the
parent quotes the last output of a process that dies.
"""

from __future__ import annotations

import sys
from typing import Any, Dict, List, Tuple

from .text_limits import MAX_TEXT_CHARACTERS, escape_surrogates

ROUTING_PLACE = -1
"""Stands for the key's place while the events' keys are computed."""


class OutputCapture:
    """Collects what was printed since the last `take_texts`."""

    def __init__(self, current_event: Any) -> None:
        """`current_event` holds the offset of the event being handled, and the place of its key."""
        self._current_event = current_event
        self._texts: Dict[Tuple[int, int], List[str]] = {}
        self._lengths: Dict[Tuple[int, int], int] = {}

    def start(self) -> None:
        """Capture both standard streams from now on."""
        sys.stdout = _CapturedStream(sys.stdout, self._capture)
        sys.stderr = _CapturedStream(sys.stderr, self._capture)

    def take_texts(self) -> List[Dict[str, Any]]:
        """Return what was printed since the last call: a text for each event and place of a key."""
        captured = []
        for (offset, place), texts in sorted(self._texts.items()):
            text, length = "".join(texts), self._lengths[offset, place]
            more = (
                f"… and {length - MAX_TEXT_CHARACTERS:,} more characters"
                if length > MAX_TEXT_CHARACTERS
                else ""
            )
            captured.append(
                {
                    "offset": offset,
                    "place": place,
                    "text": escape_surrogates(text[:MAX_TEXT_CHARACTERS] + more),
                }
            )
        self._texts, self._lengths = {}, {}
        return captured

    def _capture(self, text: str) -> None:
        at = self._current_event[0], self._current_event[1]
        if at[0] < 0:
            return  # printed while the projection is loaded
        length = self._lengths.get(at, 0)
        if length < MAX_TEXT_CHARACTERS:
            self._texts.setdefault(at, []).append(text[: MAX_TEXT_CHARACTERS - length])
        self._lengths[at] = length + len(text)


class _CapturedStream:
    """A standard stream that also passes its text to a callback."""

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
