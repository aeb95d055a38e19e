"""First differences after a code edit are those of a naive walk through both histories."""

import json
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.compare import code_edit
from replay.compare.code_edit import FirstDifference
from replay.document.diff import find_differences
from replay.document.paths import ABSENT
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from tests.support.projection_studio import Studio
from tests.support.properties import examples

EVENTS = 12
Row = tuple[int, str, str | None]

# Rows that say what is so already are no differences, wherever they stand.
ROWS = st.dictionaries(
    st.tuples(st.integers(0, EVENTS - 1), st.sampled_from("abc")),
    st.sampled_from(['{"n":1}', '{"n":2}', '{"n":1.0}', None]),
    max_size=24,
)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Studio, FoldRecord, FoldRecord]:
    """A log with two histories, of code before and after an edit."""
    studio = Studio(tmp_path_factory.mktemp("firsts"))
    studio.events(*(("a", "T", {}) for _ in range(EVENTS)))
    studio.file("p.py", "def apply(s, e): pass\n")
    old = studio.fold()
    studio.file("p.py", "def apply(s, e): return None\n")
    return studio, old, studio.fold()


def _write(studio: Studio, folded: FoldRecord, rows: list[Row]) -> None:
    table = pa.table(
        {
            "offset": pa.array([r[0] for r in rows], pa.int64()),
            "key": pa.array([r[1] for r in rows], pa.string()),
            "state": pa.array([r[2] for r in rows], pa.string()),
        }
    )
    with studio.workspace.writing() as connection:
        connection.execute("DELETE FROM history WHERE projection = ?", [folded.projection_number])
        connection.register("rows", table)
        connection.execute(
            "INSERT INTO history BY NAME SELECT ? AS projection, 'main' AS timeline,"
            " CAST(md5_number(key) & 4294967295 AS UINTEGER) AS bucket, row_number() OVER () AS change,"
            ' key, "offset", false AS in_parts, state FROM rows',
            [folded.projection_number],
        )


def _walk(old: list[Row], new: list[Row], until: int) -> list[FirstDifference]:
    """Every offset, every document, both states."""
    found: dict[str, int] = {}
    states: list[dict[str, str]] = [{}, {}]
    for offset in range(until):
        for rows, now in zip((old, new), states, strict=True):
            for at, key, state in rows:
                if at == offset:
                    now.pop(key, None) if state is None else now.update({key: state})
        for key in "abc":
            if states[0].get(key) != states[1].get(key):
                found.setdefault(key, offset)
    return [
        FirstDifference(offset, key) for offset, key in sorted((o, k) for k, o in found.items())
    ]


@settings(deadline=None, max_examples=examples(40))
@given(common=ROWS, old=ROWS, new=ROWS)
def test_the_first_differences_are_those_of_a_naive_walk(
    two: tuple[Studio, FoldRecord, FoldRecord], common, old, new
):
    studio, before, after = two
    rows = [[(*at, state) for at, state in (common | own).items()] for own in (old, new)]
    _write(studio, before, rows[0])
    _write(studio, after, rows[1])
    edit = code_edit.compare_code_edit(
        *(History(studio.workspace, folded) for folded in (before, after))
    )
    assert edit.end_offset == EVENTS
    assert list(edit.first_differences) == _walk(*rows, EVENTS)
    assert edit.differing_documents == len(edit.first_differences)


def test_real_edits_are_found_by_a_walk_too(studio: Studio):
    chance = random.Random(7)
    events = [(chance.choice("abc"), "T", {"n": chance.randrange(3)}) for _ in range(80)]
    studio.events(*events)
    source = "def apply(s, e):\n    if e.data['n'] == 2: return e.DELETED\n    s['n'] = {}\n"
    studio.file("p.py", source.format("e.data['n']"))
    old = studio.fold()
    studio.file("p.py", source.format("e.data['n'] * (e.offset < 40 or 2)"))
    new = studio.fold()
    rows = [
        [(o, k, None if s is None else json.dumps(s)) for o, k, s in studio.changes(folded)]
        for folded in (old, new)
    ]
    edit = code_edit.compare_code_edit(
        *(History(studio.workspace, folded) for folded in (old, new))
    )
    assert list(edit.first_differences) == _walk(*rows, 80)
    assert edit.first_differences
    first = edit.first_differences[0]
    assert edit.differences(first.key, first.offset) == find_differences({"n": 1}, {"n": 2})
    assert edit.differences(first.key, first.offset - 1) == []
    assert edit.differences("nobody", 10) == []


def test_only_as_far_as_both_are_folded_and_no_more_than_are_listed(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
):
    studio.events(*((f"k{n}", "T", {}) for n in range(20)))
    studio.file("p.py", "def apply(s, e): s['n'] = 1\n")
    old = studio.fold()
    studio.file("p.py", "def apply(s, e):\n    s['n'] = 2\n    if e.offset == 10: exit()\n")
    with pytest.raises(Exception, match="offset 10"):
        studio.fold()
    new = studio.found()
    monkeypatch.setattr(code_edit, "MAX_LISTED_DOCUMENTS", 3)
    edit = code_edit.compare_code_edit(
        *(History(studio.workspace, folded) for folded in (old, new))
    )
    assert (edit.end_offset, edit.differing_documents) == (10, 10)
    assert edit.first_differences == (
        FirstDifference(0, "k0"),
        FirstDifference(1, "k1"),
        FirstDifference(2, "k2"),
    )
    found = edit.differences("k19", 19)
    assert [(d.path, d.before, d.after) for d in found] == [((), {"n": 1}, ABSENT)]


def test_history_before_an_edit_is_kept(studio: Studio):
    studio.events(*(("a", "T", {}) for _ in range(4)))
    folded: dict[str, FoldRecord] = {}

    def fold(name: str, source: str = "") -> Any:
        studio.file("p.py", f"def apply(s, e):\n    s[{name!r}] = 1\n{source}")
        return studio.fold()

    def kept() -> set[str]:
        return {name for name, known in folded.items() if studio.changes(known)}

    folded["a"] = fold("a")
    folded["b"] = fold("b")
    assert kept() == {"a", "b"}
    assert fold("a").projection_number == folded["a"].projection_number
    folded["c"] = fold("c")
    assert kept() == {"a", "c"}, "b was not looked at when c was saved"
    with pytest.raises(Exception, match="offset 2"):
        fold("d", "    if e.offset == 2: exit()\n")
    folded["d"] = studio.found()
    folded["e"] = fold("e")
    assert kept() == {"c", "e"}, "d was never folded to the end"
    assert [f.projection_number for f in catalogue.list_folds(studio.workspace)] == [
        folded["e"].projection_number
    ]
