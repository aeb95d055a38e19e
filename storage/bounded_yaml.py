"""A YAML loader with bounds: it measures nesting and aliases before it builds any value.

A few aliases of aliases can expand to billions of values, and merge keys (`<<`) copy the mapping
that they name.
"""

from typing import Any

import yaml

MAX_DEPTH = 100
MAX_VALUES = 5_000_000
_GROWTH = 20
"""Aliases may expand a document to this multiple of its length, plus `_SPARE_CHARACTERS`."""
_SPARE_CHARACTERS = 16 << 20
_MAX_NUMBER = 400
"""Most characters of a number, because the time to parse one grows with the square of its length."""


class UnboundedError(yaml.YAMLError):
    """The document is nested too deep, or its aliases expand to too much."""


def load(text: str | bytes, loader: Any) -> Any:
    """Return the value of a YAML document, built by `loader`, which must be a safe loader.

    Raises `yaml.YAMLError` if the text isn't YAML, and `UnboundedError` if it exceeds the bounds.
    """
    _check(text, loader)
    return yaml.load(text, Loader=loader)  # noqa: S506 - the caller passes a safe loader


def _check(text: str | bytes, loader: Any) -> None:
    sizes = _Sizes(_SPARE_CHARACTERS + _GROWTH * len(text))
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.begin(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            sizes.end()
        elif isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0] or not event.style
            if plain and len(event.value) > _MAX_NUMBER and event.value[:1] in "+-.0123456789":
                raise UnboundedError(f"a number has more than {_MAX_NUMBER} characters")
            sizes.add(1, len(event.value), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            sizes.alias(str(event.anchor))


class _Sizes:
    """Counts the values and characters of a document with its aliases expanded."""

    def __init__(self, most_characters: int) -> None:
        self._most = most_characters
        self._known: dict[str, tuple[int, int]] = {}
        self._open: list[tuple[str | None, int, int]] = []
        self._values = self._characters = 0

    def add(self, values: int, characters: int, anchor: str | None = None) -> None:
        self._values += values
        self._characters += characters
        if anchor is not None:
            self._known[anchor] = (values, characters)
        if self._values > MAX_VALUES or self._characters > self._most:
            raise UnboundedError(
                f"it has more than {MAX_VALUES:,} values or {self._most:,} characters,"
                " once its aliases are followed"
            )

    def begin(self, anchor: str | None) -> None:
        self._open.append((anchor, self._values, self._characters))
        if anchor is not None:
            self._known.pop(anchor, None)
        self.add(1, 0)
        if len(self._open) > MAX_DEPTH:
            raise UnboundedError(f"it is nested deeper than {MAX_DEPTH}")

    def end(self) -> None:
        anchor, values, characters = self._open.pop()
        if anchor is not None:
            self._known[anchor] = (self._values - values, self._characters - characters)

    def alias(self, anchor: str) -> None:
        if anchor not in self._known:
            raise UnboundedError(
                f"the alias *{anchor} names a value that doesn't end before the alias"
            )
        self.add(*self._known[anchor])
