"""Differences between two requests or answers, as text."""

from typing import Any

import msgspec

_ABSENT = object()


def _format_value(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:59] + "…"


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Return where two JSON values differ, as `.pair: "EURUSD" → "EURGBP"`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for name in dict.fromkeys((*before, *after))
            for line in differences(
                before.get(name, _ABSENT), after.get(name, _ABSENT), f"{path}.{name}"
            )
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{path}[{i}]")]
    return [] if before == after else [f"{path}: {_format_value(before)} → {_format_value(after)}"]
