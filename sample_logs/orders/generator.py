"""Writes the `orders` log: many orders interleaved, each following a script of steps.

The rule this module owns: what an order may do, in which order. Memory depends on the number of
orders that are open at a time (at most `_MOST_OPEN`), never on the length of the log.
"""

import random
from collections.abc import Callable, Iterator

from sample_logs.shared import Rnd, money, spread, ticks

_MOST_OPEN = 20_000
_STAY = 0.4  # how often a customer who is filling a cart also makes the next event of the log
_NEWSLETTER = 1 / 400
_V1_UNTIL, _V2_FROM = 0.35, 0.6  # OrderPlaced: only version 1, a mixture, only version 2
_SECOND_REFUND_FROM = 0.65  # share of the log after which a returned order may be refunded twice
_SECOND_REFUND = 0.15

# A ItemAdded, R ItemRemoved, P OrderPlaced, C PaymentCaptured, S OrderShipped, X OrderCancelled,
# f RefundIssued of all that is left, p of a part, d of a payment captured twice.
_HEADS = ("A", "AA", "AA", "AAA", "AAA", "AARA", "AAAA", "AAAA", "AARAA", "AAAAA")
_TAILS = (
    ("PCS",) * 64
    + ("PCSp",) * 8
    + ("PCSf",) * 5
    + ("PCfX",) * 4
    + ("PX",) * 5
    + ("PC",) * 3
    + ("",) * 11
)
_BY_THE_CUSTOMER = frozenset("ARPX")
_FAULTS = ("fp", "P", "C")  # the steps before which a malformed event may come, in turn

_PEOPLE = ("ada", "ben", "chloe", "dmitri", "emre", "fatima", "grace", "hana", "ines", "jonas")
_GOODS = ("tea", "coffee", "cocoa", "honey", "jam", "bread", "rice", "pasta", "soap", "candle")
_SKUS = tuple(f"{good}-{size}" for good in _GOODS for size in ("s", "m", "l"))
_PRICES = tuple(250 + (n * 735) % 4400 + (n % 3) * 45 for n in range(len(_SKUS)))
_ADDED = tuple(
    tuple(f'{{"sku":"{sku}","qty":{qty},"price":{money(price)}}}' for qty in range(5))
    for sku, price in zip(_SKUS, _PRICES, strict=True)
)
_QUANTITIES = (1, 1, 1, 1, 2, 2, 3, 4)
_CURRENCIES = ("EUR",) * 16 + ("USD",) * 3 + ("GBP",)
_SHIPPING = (0, 390, 490, 990)
_METHODS = ("card", "card", "paypal", "invoice")
_CARRIERS = ("dhl", "dpd", "post")
_REASONS = ("damaged", "wrong size", "late", "changed mind")

Body = tuple[str, str, str]  # type and version, data, user


class _Order:
    """An open order: its step in the script, and the sums that its next events depend on."""

    __slots__ = ("cart", "last", "name", "paid", "refunded", "revision", "script", "step", "total")

    def __init__(self, number: int, script: str) -> None:
        self.name = str(number)
        self.script = script
        self.step = 0
        self.revision = 0
        self.cart: dict[int, int] = {}
        self.total = self.paid = self.refunded = 0
        self.last = ""


class _Shop:
    """One method per step; each returns the body of an event and keeps the order's sums."""

    def __init__(self, rnd: Rnd) -> None:
        self.rnd = rnd
        self.progress = 0.0
        self.steps: dict[str, Callable[[_Order], Body]] = {
            "A": self.add,
            "R": self.remove,
            "P": self.place,
            "C": self.capture,
            "S": self.ship,
            "X": self.cancel,
            "f": self.refund_rest,
            "p": self.refund_part,
            "d": self.refund_double,
        }

    def add(self, order: _Order) -> Body:
        sku = int(self.rnd() * len(_SKUS))
        quantity = _QUANTITIES[int(self.rnd() * len(_QUANTITIES))]
        order.cart[sku] = order.cart.get(sku, 0) + quantity
        return '"ItemAdded","version":1', _ADDED[sku][quantity], _customer(order)

    def remove(self, order: _Order) -> Body:
        sku = next(reversed(order.cart))
        order.cart[sku] -= 1
        if not order.cart[sku]:
            del order.cart[sku]
        return '"ItemRemoved","version":1', f'{{"sku":"{_SKUS[sku]}","qty":1}}', _customer(order)

    def place(self, order: _Order) -> Body:
        order.total = sum(_PRICES[sku] * quantity for sku, quantity in order.cart.items())
        mixture = (self.progress - _V1_UNTIL) / (_V2_FROM - _V1_UNTIL)
        if self.rnd() >= mixture:
            data = f'{{"total":{money(order.total)}}}'
            return '"OrderPlaced","version":1', data, _customer(order)
        shipping = _SHIPPING[int(self.rnd() * len(_SHIPPING))]
        currency = _CURRENCIES[int(self.rnd() * len(_CURRENCIES))]
        order.total += shipping
        data = (
            f'{{"total":{money(order.total)},"shipping":{money(shipping)},"currency":"{currency}"}}'
        )
        return '"OrderPlaced","version":2', data, _customer(order)

    def capture(self, order: _Order) -> Body:
        order.paid += order.total
        method = _METHODS[int(self.rnd() * len(_METHODS))]
        data = f'{{"amount":{money(order.total)},"method":"{method}"}}'
        return '"PaymentCaptured","version":1', data, "payments"

    def ship(self, order: _Order) -> Body:
        carrier = _CARRIERS[int(self.rnd() * len(_CARRIERS))]
        data = f'{{"carrier":"{carrier}","tracking":"{carrier}-{order.name}-{order.revision}"}}'
        return '"OrderShipped","version":1', data, "warehouse"

    def cancel(self, order: _Order) -> Body:
        return '"OrderCancelled","version":1', '{"reason":"changed mind"}', _customer(order)

    def refund_rest(self, order: _Order) -> Body:
        return self._refund(order, order.paid - order.refunded, self._reason())

    def refund_part(self, order: _Order) -> Body:
        if order.refunded:  # the second return brings the rest
            return self.refund_rest(order)
        part = int(order.paid * (0.2 + 0.25 * self.rnd()))
        if self.progress > _SECOND_REFUND_FROM and self.rnd() < _SECOND_REFUND:
            order.script += "p"
        return self._refund(order, part, self._reason())

    def refund_double(self, order: _Order) -> Body:
        return self._refund(order, order.total, "captured twice")

    def fault(self, kind: int, order: _Order) -> Body:
        """Return a malformed event, on which a handler raises; the order continues without it."""
        if kind == 0:
            return '"RefundIssued","version":1', f'{{"reason":"{self._reason()}"}}', "returns"
        if kind == 1:
            sku = next(sku for sku in range(len(_SKUS)) if sku not in order.cart)
            data = f'{{"sku":"{_SKUS[sku]}","qty":1}}'
            return '"ItemRemoved","version":1', data, _customer(order)
        return '"PaymentCaptured","version":1', '{"amount":null,"method":"card"}', "payments"

    def _refund(self, order: _Order, cents: int, reason: str) -> Body:
        order.refunded += cents
        data = f'{{"amount":{money(cents)},"reason":"{reason}"}}'
        return '"RefundIssued","version":1', data, "returns"

    def _reason(self) -> str:
        return _REASONS[int(self.rnd() * len(_REASONS))]


def _customer(order: _Order) -> str:
    return _PEOPLE[int(order.name) % len(_PEOPLE)]


def _script(rnd: Rnd) -> str:
    return _HEADS[int(rnd() * len(_HEADS))] + _TAILS[int(rnd() * len(_TAILS))]


def lines(events: int, seed: int) -> Iterator[str]:
    """Yield the lines of the log, without line ends."""
    rnd = random.Random(seed).random
    shop = _Shop(rnd)
    steps = shop.steps
    slots: list[_Order | None] = [None] * min(_MOST_OPEN, max(24, events // 60))
    slot = orders = fault = 0
    newsletters = [0] * 5
    faults = spread(events, one_in=100_000, least=3)
    doubles = spread(events, one_in=100_000, least=1)
    fault_due, double_due = next(faults), next(doubles)
    for offset, (_, time) in enumerate(ticks(events, seed)):
        chance = rnd()
        if chance > 1 - _NEWSLETTER:
            issue = int(rnd() * len(newsletters))
            yield (
                f'{{"id":"ev-{offset}","time":"{time}","stream":"newsletter-{issue}"'
                f',"revision":{newsletters[issue]},"type":"NewsletterOpened","version":1'
                f',"correlation_id":"campaign-{issue}","causation_id":null'
                f',"data":{{"issue":{issue}}},"meta":{{"user":"{_PEOPLE[issue]}"}}}}'
            )
            newsletters[issue] += 1
            continue
        order = slots[slot]
        if chance > _STAY or order is None or order.script[order.step] not in _BY_THE_CUSTOMER:
            slot = int(rnd() * len(slots))
            order = slots[slot]
        if order is None:
            orders += 1
            order = slots[slot] = _Order(orders, _script(rnd))
        shop.progress = offset / events
        step = order.script[order.step]
        if offset >= fault_due and step in _FAULTS[fault % len(_FAULTS)]:
            kind, data, user = shop.fault(fault % len(_FAULTS), order)
            fault, fault_due = fault + 1, next(faults)
        elif offset >= double_due and order.script.endswith("CS") and step == "S":
            kind, data, user = shop.capture(order)
            order.script += "d"
            double_due = next(doubles)
        else:
            kind, data, user = steps[step](order)
            order.step += 1
        cause = "null" if step in _BY_THE_CUSTOMER else f'"{order.last}"'
        order.last = f"ev-{offset}"
        yield (
            f'{{"id":"ev-{offset}","time":"{time}","stream":"order-{order.name}"'
            f',"revision":{order.revision},"type":{kind}'
            f',"correlation_id":"cart-{order.name}","causation_id":{cause}'
            f',"data":{data},"meta":{{"user":"{user}"}}}}'
        )
        order.revision += 1
        if order.step == len(order.script):
            slots[slot] = None
