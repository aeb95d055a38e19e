"""Very many documents are folded in shares, with the same history as that of a single worker."""

import random
from typing import Any

import pytest

from replay.event_fold import fold_run, partitioned_fold
from replay.history.history import History
from storage.errors import CancelledError

MANY = 30_000

COUNTER = """
INVARIANTS = {"small": lambda state: state["n"] < 3}
def initial(key): return {"n": 0}
def on_Added(state, event): state["n"] += event.data["by"]
def on_Gone(state, event): return event.DELETED
def on_Failed(state, event):
    state["n"] = -1
    raise ValueError("no")
"""
ROUTED = COUNTER + "def key(event): return [event.stream, 'all-' + event.stream[-1]]\n"
CAREFUL = COUNTER.replace('{"n": 0}', '{"n": 0, "seen": {1}}')


@pytest.fixture(scope="module")
def events() -> list[Any]:
    draw = random.Random(3)
    born = [(f"k{n}", "Added", {"by": 1}) for n in range(MANY)]
    kinds = ("Added", "Added", "Gone", "Failed", "Other")
    later = [(f"k{draw.randrange(MANY)}", draw.choice(kinds), {"by": 1}) for _ in range(8_000)]
    return born + later


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Limit workers to very little memory; return the number of shares of each fold."""
    monkeypatch.setattr(fold_run, "DEFAULT_DOCUMENT_BUDGET_BYTES", 1)
    monkeypatch.setattr(partitioned_fold, "choose_share_count", lambda *_: 2)
    monkeypatch.setattr(partitioned_fold, "_BATCH_EVENTS", 7_000)
    parts: list[int] = []
    fold = partitioned_fold.fold_by_shares

    def watched(of: Any, recording: Any, count: int, *rest: Any, **named: Any) -> None:
        parts.append(count)
        fold(of, recording, count, *rest, **named)

    monkeypatch.setattr(partitioned_fold, "fold_by_shares", watched)
    return parts


def _history(studio: Any, folded: Any) -> Any:
    history = History(studio.workspace, folded)
    failures = [(f.offset, f.key, f.error) for f in history.failures()]
    with studio.workspace.reading() as connection:
        tables = [
            # Compare texts, because NaN doesn't equal NaN.
            connection.execute(
                f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM {table} ORDER BY ALL"
            ).fetchall()
            for table in ("history", "documents", "routes", "turns")
        ]
        rest = connection.execute("SELECT skipped, unhandled, failures FROM folds").fetchall()
    return studio.changes(folded), failures, tables, rest


@pytest.mark.parametrize(
    "source",
    [
        COUNTER,
        pytest.param(ROUTED, marks=pytest.mark.slow),
        pytest.param(CAREFUL, marks=pytest.mark.slow),
    ],
    ids=["streams", "routed", "careful"],
)
def test_the_history_equals_that_of_a_single_worker(
    new_studio: Any, events: list[Any], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, in_shares = new_studio(), new_studio()
    for studio in (whole, in_shares):
        studio.events(*events)
        studio.file("p.py", source)
    expected = _history(whole, whole.fold())
    with monkeypatch.context() as patch:
        parts = little_room.__wrapped__(patch)  # type: ignore[attr-defined]
        found = _history(in_shares, in_shares.fold())
    assert parts == [2]
    for one, other in zip(found, expected, strict=True):
        assert one == other


def test_the_earlier_history_stays_during_a_fold_in_shares_and_after_a_cancel(
    studio: Any, events: list[Any], little_room: list[int]
) -> None:
    studio.events(*events)
    studio.file("p.py", COUNTER)
    kept: list[int] = []

    def stop() -> bool:
        return bool(little_room) and len(kept) > 3

    with pytest.raises(CancelledError):
        studio.fold(
            on_progress=lambda progress: kept.append(progress.stored_events), cancelled=stop
        )
    before = studio.found()
    assert 20_000 < before.next_offset < len(events)
    assert not list(studio.folder.glob(".*")), "the files of the shares are gone"
    assert studio.fold().next_offset == len(events)
    assert len(studio.changes(studio.found())) > MANY
