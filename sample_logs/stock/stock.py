"""A copy of the warehouse's `stock` table, one document per sku, from change data capture.

Delivery is at least once and not always in order, so the source's own position decides: a change
whose lsn isn't higher than the one already applied is stale and changes nothing.
"""

from typing import Any

State = dict[str, Any]

INVARIANTS = {
    "never reserved more than is on hand": lambda state: state["reserved"] <= state["on_hand"],
}


def on_stock_r(state: State, event: Any) -> None:
    _apply(state, event)


def on_stock_c(state: State, event: Any) -> None:
    _apply(state, event)


def on_stock_u(state: State, event: Any) -> None:
    _apply(state, event)


def on_stock_d(state: State, event: Any) -> Any:
    # The guard goes with the document. A source that also delivers late around a delete would
    # need a tombstone that keeps the lsn; this one doesn't.
    return state if _stale(state, event) else event.DELETED


def _apply(state: State, event: Any) -> None:
    if _stale(state, event):
        return
    state.update(event.data["after"])
    state["lsn"] = event.data["source"]["lsn"]
    state["changes"] = state.get("changes", 0) + 1


def _stale(state: State, event: Any) -> bool:
    return bool(event.data["source"]["lsn"] <= state.get("lsn", -1))
