"""Orders of a shop: what is in each, what it costs, what was paid and given back."""

from typing import Any

State = dict[str, Any]

INVARIANTS = {
    "net payment never exceeds the total": lambda state: (
        round(state["paid"] - state["refunded"], 2) <= state["total"]
    ),
    "never refunded more than was paid": lambda state: state["refunded"] <= state["paid"],
    "what is shipped is paid": lambda state: state["status"] != "shipped" or state["paid"] > 0,
}


def initial(key: str) -> State:
    """A new order: an empty cart."""
    return {
        "order": key,
        "status": "cart",
        "items": {},
        "total": 0,
        "shipping": 0,
        "currency": "EUR",
        "paid": 0,
        "refunded": 0,
    }


def on_ItemAdded(state: State, event: Any) -> None:
    data = event.data
    item = state["items"].setdefault(data["sku"], {"qty": 0, "price": data["price"]})
    item["qty"] += data["qty"]
    state["total"] = _goods(state)


def on_ItemRemoved(state: State, event: Any) -> None:
    items = state["items"]
    item = items[event.data["sku"]]
    item["qty"] -= event.data["qty"]
    if item["qty"] <= 0:
        del items[event.data["sku"]]
    state["total"] = _goods(state)


def on_OrderPlaced(state: State, event: Any) -> None:
    # Version 1 had the total only: shipping was free, and everything was in EUR.
    state["status"] = "placed"
    state["total"] = event.data["total"]
    state["shipping"] = event.data.get("shipping", 0)
    state["currency"] = event.data.get("currency", "EUR")


def on_PaymentCaptured(state: State, event: Any) -> None:
    state["paid"] = round(state["paid"] + event.data["amount"], 2)
    if state["status"] == "placed":
        state["status"] = "paid"


def on_RefundIssued(state: State, event: Any) -> None:
    state["refunded"] = event.data["amount"]
    if state["refunded"] >= state["paid"]:
        state["status"] = "refunded"


def on_OrderShipped(state: State, event: Any) -> None:
    state["status"] = "shipped"
    state["tracking"] = event.data["tracking"]


def on_OrderCancelled(state: State, event: Any) -> None:
    state["status"] = "cancelled"
    state["reason"] = event.data["reason"]


def _goods(state: State) -> float:
    total: float = sum(item["qty"] * item["price"] for item in state["items"].values())
    return round(total, 2)
