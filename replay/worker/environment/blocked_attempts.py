"""Describes a blocked attempt to reach the outside, whether the hook or the kernel blocked it."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional


def build_blocked_decision(
    offset: int,
    key: Optional[str],
    ordinal: int,
    event: str,
    request: Any,
    stack: Optional[str],
    description: Optional[str] = None,
) -> Dict[str, Any]:
    """Return a blocked attempt in the shape of a gateway decision.

    `event` is an audit event such as `socket.connect`, `request` its arguments. `description` replaces
    the event's name in the reason.
    """
    port, _, operation = event.partition(".")
    return {
        "offset": offset,
        "key": key,
        "ordinal": ordinal,
        "kind": "command",
        "port": port,
        "operation": operation or port,
        "request": json.dumps(request),
        "decision": "blocked",
        "reason": f"a replay lets nothing out: {description or event}",
        "call": None,
        "response": None,
        "stack": stack,
    }
