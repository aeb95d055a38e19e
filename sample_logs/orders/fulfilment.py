"""What the warehouse sees of an order, and what it tells the customer.

These handlers ask the outside world: the exchange rate of an order that isn't in EUR, and a mail
when an order ships. The answers come from the replay gateway's recordings: while an event is
replayed nobody is asked and no mail is sent. `fx.rate` answers with a number, the units of the
other currency that one EUR buys.
"""

from typing import Any

State = dict[str, Any]

INVARIANTS = {
    "a customer is told once that the order ships": lambda state: state["mails"] <= 1,
}


def initial(key: str) -> State:
    """Nothing to do yet."""
    return {"order": key, "status": "open", "currency": "EUR", "value_eur": 0, "mails": 0}


def on_OrderPlaced(state: State, event: Any, gateway: Any) -> None:
    total = event.data["total"]
    currency = event.data.get("currency", "EUR")
    if currency != "EUR":
        total = round(total / gateway.query("fx", "rate", {"pair": f"EUR{currency}"}), 2)
    state["status"] = "to pay"
    state["currency"] = currency
    state["value_eur"] = total


def on_PaymentCaptured(state: State, event: Any) -> None:
    if state["status"] == "to pay":
        state["status"] = "to ship"


def on_OrderShipped(state: State, event: Any, key: str, gateway: Any) -> None:
    mail = {
        "template": "shipped",
        "to": event.correlation_id,
        "order": key,
        "tracking": event.data["tracking"],
    }
    gateway.command("mail", "send", mail)
    state["status"] = "shipped"
    state["mails"] += 1


def on_OrderCancelled(state: State, event: Any) -> None:
    state["status"] = "cancelled"
