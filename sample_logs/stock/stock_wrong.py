"""A copy of the warehouse's `stock` table, one document per sku, from change data capture.

Every change carries the whole row, so the last one to arrive is the newest.
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
    return event.DELETED


def _apply(state: State, event: Any) -> None:
    state.update(event.data["after"])
    state["lsn"] = event.data["source"]["lsn"]
    state["changes"] = state.get("changes", 0) + 1
