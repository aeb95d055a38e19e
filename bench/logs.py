"""The logs of the benchmarks: generated orders, kept in `bench/data` between runs."""

import re
from pathlib import Path

from sample_logs import SAMPLES, generate
from storage.workspace import workspace_file as workspaces

DATA = Path(__file__).parent / "data"
PROJECTION = SAMPLES["orders"].projection


def orders(events: int) -> Path:
    """Return the path of a log of `events` events, as JSON lines."""
    return _made(DATA / f"orders-{events}.jsonl", lambda: generate("orders", events, 1))


def careful_orders(events: int) -> Path:
    """Return the same log with prices such as 18.30, whose zero a double loses, and broken lines."""

    def chunks():  # type: ignore[no-untyped-def]
        for number, chunk in enumerate(generate("orders", events, 1)):
            text = re.sub(rb'("price":\d+\.\d)}', rb"\g<1>0}", chunk)
            yield text if number % 10 else text.replace(b'{"id"', b'{"id', 1)

    return _made(DATA / f"orders-careful-{events}.jsonl", chunks)


def plain_projection() -> Path:
    """Return the path of the projection without its invariants."""
    text = PROJECTION.read_text().replace("INVARIANTS = {", "_INVARIANTS = {")
    path = DATA / "plain" / PROJECTION.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def workspace(events: int) -> Path:
    """Return the path of the workspace for that log."""
    return DATA / f"orders-{events}.refold"


def generated(name: str, query: str, **parameters: int) -> Path:
    """Return a workspace with the events of a query: `offset stream type data source line`."""
    path = DATA / f"{name}.refold"
    if path.exists():
        return path
    DATA.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    with workspaces.create_workspace(unfinished) as connection:
        connection.execute(
            f'INSERT INTO events ("offset", stream, type, data, source, line) {query}', parameters
        )
    unfinished.rename(path)
    return path


def _made(path: Path, chunks) -> Path:  # type: ignore[no-untyped-def]
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as stream:
            for chunk in chunks():
                stream.write(chunk)
        unfinished.rename(path)
    return path
