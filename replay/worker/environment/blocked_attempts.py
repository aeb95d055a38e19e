"""How an attempt to get out by another way than the gateway is told, whoever has stopped it."""

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
    """As a decision of the gateway is: `what` is as `socket.connect`, `request` with what, and
    `how` says more than that."""
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
