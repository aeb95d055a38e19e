"""A catalogue of sample logs: small committed ones, and generators of the same at any size.

Each sample is a folder: a generator, a correct projection, one with a bug that an engineer could
have written, and a README that says where the bug first shows. Nothing here imports refold.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sample_logs.accounts.generator import lines as _accounts
from sample_logs.orders.generator import lines as _orders
from sample_logs.shared import in_chunks
from sample_logs.stock.generator import lines as _stock

__all__ = ["SAMPLES", "Sample", "generate"]


@dataclass(frozen=True)
class Sample:
    """The paths of a sample's small log and of its two main projections."""

    name: str
    title: str
    log: Path
    projection: Path
    wrong_projection: Path


def _sample(name: str, title: str) -> Sample:
    folder = Path(__file__).parent / name
    return Sample(
        name=name,
        title=title,
        log=folder / f"{name}.jsonl",
        projection=folder / f"{name}.py",
        wrong_projection=folder / f"{name}_wrong.py",
    )


SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        _sample("orders", "a shop: carts, orders, payments, refunds, shipping"),
        _sample("accounts", "a bank: deposits, withdrawals, transfers between two accounts"),
        _sample("stock", "a warehouse table, as change data capture delivers it"),
    )
}

_LINES: dict[str, Callable[[int, int], Iterator[str]]] = {
    "orders": _orders,
    "accounts": _accounts,
    "stock": _stock,
}


def generate(name: str, events: int, seed: int = 1) -> Iterator[bytes]:
    """Yield the log of a sample in chunks of many lines; equal arguments give equal bytes."""
    return in_chunks(_LINES[name](events, seed))
