"""The small log and the projections that all parts of the campaign use."""

import json
import random
from pathlib import Path

PROJECTION = """
INVARIANTS = {"never negative": lambda state: state["total"] >= 0}
def initial(key):
    return {"total": 0, "items": {}}
def on_ItemAdded(state, event):
    state["items"][event.data["sku"]] = event.data["qty"]
    state["total"] += event.data["qty"] * event.data["price"]
def on_Refunded(state, event):
    state["total"] -= event.data["amount"]
def on_Shipped(state, event):
    if event.data["carrier"] == "none":
        raise ValueError("no carrier")
    state["shipped"] = event.data["carrier"]
"""
CALLING = """
def on_ItemAdded(state, event, gateway):
    state["rate"] = gateway.query("rates", "rate", {"sku": event.data["sku"]})
def on_Shipped(state, event, gateway):
    gateway.command("mail", "send", {"order": event.stream, "event": event.id})
    state["shipped"] = True
"""
PORTS = """
[ports.rates]
live = "cmd:{python} answer.py"
[ports.mail]
live = "cmd:{python} answer.py"
kind = "command"
"""
ANSWERS = """
import json, sys
for line in sys.stdin:
    call = json.loads(line)
    if call["kind"] == "command":
        with open("sent.log", "a") as sent:
            sent.write(json.dumps(call["request"], sort_keys=True) + "\\n")
    print(json.dumps({"response": 1.5}), flush=True)
"""


def events(count: int, *, first: int = 0) -> list[dict[str, object]]:
    """Return events of a shop; the same number always gives the same event."""
    return [_event(number) for number in range(first, first + count)]


def write_log(path: Path, count: int) -> None:
    """Write a log of `count` events as JSON lines."""
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events(count)))


def _event(number: int) -> dict[str, object]:
    draw = random.Random(number)
    kind = draw.choice(("ItemAdded", "ItemAdded", "ItemAdded", "Refunded", "Shipped"))
    data: dict[str, object] = {"email": f"person-{number % 7}@example.org"}
    if kind == "ItemAdded":
        data |= {"sku": f"sku-{draw.randrange(9)}", "qty": draw.randrange(1, 5)}
        data["price"] = draw.randrange(100) / 4
    elif kind == "Refunded":
        data["amount"] = draw.randrange(60)
    else:
        data["carrier"] = draw.choice(("post", "bike", "none"))
    return {
        "id": f"e{number}",
        "time": f"2026-01-03T{12 + number // 3600 % 12:02}:{number // 60 % 60:02}:{number % 60:02}Z",
        "stream": f"order-{draw.randrange(12)}",
        "type": kind,
        "data": data,
    }
