"""The projections differ where the READMEs say: the tests read the claims and fold the logs."""

import copy
import importlib.util
import inspect
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sample_logs import SAMPLES, generate

STOCK_SIZE = 1500
DELETED = object()
Docs = dict[str, Any]
each = pytest.mark.parametrize("name", list(SAMPLES))


@cache
def parsed(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in SAMPLES[name].log.read_text().splitlines()]


def events(name: str) -> Iterator[Any]:
    for offset, fields in enumerate(parsed(name)):
        yield SimpleNamespace(offset=offset, DELETED=DELETED, **copy.deepcopy(fields))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"projection_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fold(
    module: Any, docs: Docs, event: Any, gateway: Any = None
) -> list[tuple[str, Exception | None]]:
    """Apply one event, and return the keys that it reached, each with the error of its handler."""
    handler = getattr(module, "on_" + event.type.replace(".", "_"), None)
    if handler is None:
        return []
    keys = module.key(event) if hasattr(module, "key") else event.stream
    reached: list[tuple[str, Exception | None]] = []
    for key in [keys] if isinstance(keys, str) else keys:
        wanted = inspect.signature(handler).parameters
        extra = {k: v for k, v in {"key": key, "gateway": gateway}.items() if k in wanted}
        state = copy.deepcopy(docs[key]) if key in docs else _initial(module, key)
        try:
            result = handler(state, event, **extra)
        except Exception as error:  # noqa: BLE001 - what a handler raises is the answer
            reached.append((key, error))
            continue
        if result is DELETED:
            docs.pop(key, None)
        else:
            docs[key] = state if result is None else result
        reached.append((key, None))
    return reached


def _initial(module: Any, key: str) -> Any:
    return module.initial(key) if hasattr(module, "initial") else {}


def table(name: str, first_column: str) -> list[list[str]]:
    """Return the rows of the README's table whose first column has this head."""
    text = (SAMPLES[name].log.parent / "README.md").read_text()
    found = re.search(rf"^\| {first_column} .*\n\|[-|]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    assert found
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in found[1].splitlines()]


def value(cell: str) -> Any:
    return json.loads(cell.strip("`"))


@each
def test_wrong_projection_differs_where_the_readme_says(name: str) -> None:
    right, wrong = load(SAMPLES[name].projection), load(SAMPLES[name].wrong_projection)
    rights: Docs = {}
    wrongs: Docs = {}
    differing: set[str] = set()
    found = []
    for event in events(name):
        reached = fold(right, rights, event)
        also = fold(wrong, wrongs, event)
        assert [(k, type(e)) for k, e in reached] == [(k, type(e)) for k, e in also]
        for key, _ in reached:
            if rights.get(key) != wrongs.get(key) and key not in differing:
                differing.add(key)
                found += [
                    (event.offset, key, field, rights[key][field], wrongs[key][field])
                    for field in rights[key]
                    if rights[key][field] != wrongs[key][field]
                ]
    told = [
        (int(offset), key, field, value(a), value(b))
        for offset, key, field, a, b in table(name, "offset . document")
    ]
    assert sorted(found) == sorted(told)
    assert found[0][0] >= len(parsed(name)) / 2


def test_orders_failures_skips_and_invariants() -> None:
    module = load(SAMPLES["orders"].projection)
    docs: Docs = {}
    failures = []
    broken = []
    holds: dict[tuple[str, str], bool] = {}
    skipped = 0
    for event in events("orders"):
        reached = fold(module, docs, event)
        skipped += not reached
        for key, error in reached:
            if error is not None:
                failures.append([str(event.offset), key, event.type, type(error).__name__])
            for name, rule in module.INVARIANTS.items():
                if holds.get((key, name), True) != (now := rule(docs[key])):
                    holds[key, name] = now
                    broken.append((event.offset, key, name, docs[key]["paid"], docs[key]["total"]))
    told = table("orders", "offset . stream")
    assert failures == [[*row[:3], row[3].split(":")[0]] for row in told]
    [[at, mended, key, paid, total]] = table("orders", "broken at")
    rule = "net payment never exceeds the total"
    assert broken == [
        (int(offset), key, rule, value(paid), value(total)) for offset in (at, mended)
    ]
    assert 5 <= skipped <= 15


def test_fulfilment_asks_the_gateway() -> None:
    calls: Counter[tuple[str, str]] = Counter()

    class Gateway:
        def query(self, *call: Any) -> float:
            calls["query", call[2]["pair"]] += 1
            return 1.25

        def command(self, *call: Any) -> None:
            calls["command", ".".join(call[:2])] += 1

    module = load(SAMPLES["orders"].log.parent / "fulfilment.py")
    docs: Docs = {}
    for event in events("orders"):
        assert all(error is None for _, error in fold(module, docs, event, Gateway()))
    shipped = sum(event["type"] == "OrderShipped" for event in parsed("orders"))
    assert calls["command", "mail.send"] == shipped
    assert set(calls) == {("command", "mail.send"), ("query", "EURUSD"), ("query", "EURGBP")}


def test_transfers_conserve_money() -> None:
    module = load(SAMPLES["accounts"].projection)
    docs: Docs = {}
    in_bank = 0
    for event in events("accounts"):
        fold(module, docs, event)
        if event.type in ("Deposited", "Withdrawn"):
            in_bank += event.data["amount"] * (1 if event.type == "Deposited" else -1)
        assert sum(state["balance"] for state in docs.values()) == in_bank
        touched = module.key(event)
        for key in [touched] if isinstance(touched, str) else touched:
            rules = [rule for rule in module.INVARIANTS.values() if callable(rule)]
            assert rules
            assert all(rule(docs[key]) for rule in rules)


@pytest.mark.parametrize("size", [100, 1500, 10_000])
def test_stock_delivery_errs_twice(size: int) -> None:
    log = [json.loads(line) for line in b"".join(generate("stock", size, seed=1)).splitlines()]
    seen: set[str] = set()
    newest: dict[str, int] = {}
    errors = []
    for offset, event in enumerate(log):
        stream, lsn = event["stream"], event["data"]["source"]["lsn"]
        if event["id"] in seen:
            assert event == log[offset - 1]
            errors.append(["twice", str(offset), stream])
        elif lsn < newest.get(stream, -1):
            errors.append(["late", str(offset), stream])
        seen.add(event["id"])
        newest[stream] = max(lsn, newest.get(stream, -1))
    assert [error for error, *_ in errors] == ["twice", "late"]
    assert all(size * 0.45 < int(offset) < size * 0.65 for _, offset, _ in errors)
    if size == STOCK_SIZE:
        assert errors == [row[:3] for row in table("stock", "error")]


def test_stock_ends_as_the_source() -> None:
    module = load(SAMPLES["stock"].projection)
    docs: Docs = {}
    rows: dict[str, Any] = {}
    for event in events("stock"):
        fold(module, docs, event)
    for change in sorted(parsed("stock"), key=lambda e: int(e["data"]["source"]["lsn"])):
        rows[change["stream"]] = change["data"]["after"]
    kept = {key: {field: state[field] for field in rows[key]} for key, state in docs.items()}
    assert kept == {key: row for key, row in rows.items() if row is not None}
