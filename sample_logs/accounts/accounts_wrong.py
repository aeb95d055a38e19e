"""Accounts of a bank, in cents. A transfer touches two documents and makes or loses no money."""

from typing import Any

State = dict[str, Any]

INVARIANTS = {
    "never overdrawn": lambda state: state["balance"] >= 0,
    "the balance is what came minus what went": lambda state: (
        state["balance"]
        == state["deposited"] - state["withdrawn"] + state["received"] - state["sent"]
    ),
    "money is neither made nor lost": (
        "sum(state.balance) = sum(state.deposited) - sum(state.withdrawn)"
    ),
}


def key(event: Any) -> Any:
    """A transfer belongs to both of its accounts, or to one if they are the same."""
    if event.type != "TransferMade":
        return event.stream
    ends = [event.data["from"], event.data["to"]]
    return ends if ends[0] != ends[1] else ends[:1]


def initial(key: str) -> State:
    """An account that nobody has opened yet."""
    return {
        "account": key,
        "owner": None,
        "balance": 0,
        "deposited": 0,
        "withdrawn": 0,
        "received": 0,
        "sent": 0,
    }


def on_AccountOpened(state: State, event: Any) -> None:
    state["owner"] = event.data["owner"]


def on_Deposited(state: State, event: Any) -> None:
    state["balance"] += event.data["amount"]
    state["deposited"] += event.data["amount"]


def on_Withdrawn(state: State, event: Any) -> None:
    state["balance"] -= event.data["amount"]
    state["withdrawn"] += event.data["amount"]


def on_TransferMade(state: State, event: Any, key: str) -> None:
    amount = event.data["amount"]
    if key == event.data["from"]:
        state["balance"] -= amount
        state["sent"] += amount
    else:
        state["balance"] += amount
        state["received"] += amount
