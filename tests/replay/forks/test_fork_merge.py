"""Merges of two forks, and fork files."""

import json
from functools import partial
from typing import Any

import pytest

from replay.export import timeline_log
from replay.fold import fold_projection
from replay.forks import fork_file, fork_merge
from storage.coordinates.event_labels import Label
from storage.errors import QueryError, SourceError, WorkspaceError
from storage.ingest import loader
from storage.log.event_log import EventLog
from storage.timelines import fork_store
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.fork_bench import PROJECTION, Bench, event


def join(bench: Bench, a: Any, b: Any, name: str = "both", **wishes: Any) -> fork_merge.MergeResult:
    fold = partial(fold_projection, reference=bench.refer())
    return fork_merge.merge_forks(a, b, name, bench.refer(), fold, **wishes)


def names(workspace: Workspace) -> list[str]:
    count = EventLog(workspace).read_extent().event_count
    return [
        str(workspace.label_at(row.offset)) for row in EventLog(workspace).read_events(0, count)
    ]


def test_a_merge_contains_both_sets_of_edits(bench: Bench):
    a = bench.fork("a", lambda made: [made.drop(7), made.insert(3, event("a", 5))])
    b = bench.fork("b", lambda made: [made.set(8, "by", "80"), made.move(21, 26)])
    joined = join(bench, a, b)
    assert not joined.event_conflicts
    assert not joined.document_conflicts
    history = bench.history(joined.forked_workspace)
    assert bench.total(history, "c") == 87 - 7
    assert bench.total(history, "a") == 75 + 5
    assert bench.total(history, "d") == 93 - 8 + 80
    assert "7" not in names(joined.forked_workspace)
    assert names(joined.forked_workspace).index("26+1") > names(joined.forked_workspace).index("26")


@pytest.mark.parametrize(
    ("order", "said"), [("time", ["y", "x"]), ("a", ["x", "y"]), ("b", ["y", "x"])]
)
def test_events_that_both_forks_inserted_are_ordered(bench: Bench, order, said):
    late, early = "2026-01-01T12:00:00Z", "2026-01-01T01:00:00Z"
    a = bench.fork("a", lambda made: made.insert(3, event("a", 5, id="x", time=late)))
    b = bench.fork("b", lambda made: made.insert(3, event("b", 5, id="y", time=early)))
    joined = join(bench, a, b, order=order)
    assert names(joined.forked_workspace)[3:7] == ["3", "3+1", "3+2", "4"]
    assert [row.id for row in EventLog(joined.forked_workspace).read_events(4, 2)] == said


@pytest.mark.parametrize(("prefer", "total"), [("a", 70), ("b", 700)])
def test_an_event_that_both_edited_is_a_conflict(bench: Bench, prefer, total):
    a = bench.fork("a", lambda made: made.set(7, "by", "70"))
    b = bench.fork("b", lambda made: made.set(7, "by", "700"))
    joined = join(bench, a, b, prefer=prefer)
    assert [(str(c.label), c.preferred) for c in joined.event_conflicts] == [("7", prefer)]
    assert bench.total(bench.history(joined.forked_workspace), "c") == 87 - 7 + total


@pytest.mark.parametrize(("prefer", "after"), [("a", "3"), ("b", "9")])
def test_an_event_that_both_forks_moved_appears_once(bench: Bench, prefer, after):
    a = bench.fork("a", lambda made: made.move(0, 3))
    b = bench.fork("b", lambda made: made.move(0, 9))
    joined = join(bench, a, b, prefer=prefer)
    assert [(str(c.label), c.a.value, c.b.value) for c in joined.event_conflicts] == [
        ("0", "move", "move")
    ]
    there = names(joined.forked_workspace)
    assert len(there) == 30
    assert there[there.index(after) + 1] == f"{after}+1"
    (row,) = (row for row in EventLog(joined.forked_workspace).read_events(0, 40) if row.id == "e0")
    assert str(joined.forked_workspace.label_at(row.offset)) == f"{after}+1"


@pytest.mark.parametrize(("prefer", "events"), [("a", 30), ("b", 29)])
def test_an_event_that_one_moved_and_the_other_dropped(bench: Bench, prefer, events):
    a = bench.fork("a", lambda made: made.move(0, 3))
    b = bench.fork("b", lambda made: made.drop(0))
    joined = join(bench, a, b, prefer=prefer)
    assert [(c.a.value, c.b.value, c.preferred) for c in joined.event_conflicts] == [
        ("move", "drop", prefer)
    ]
    assert len(names(joined.forked_workspace)) == events


def test_the_same_edit_in_both_is_no_conflict(bench: Bench):
    a = bench.fork("a", lambda made: made.drop(7))
    b = bench.fork("b", lambda made: [made.drop(7), made.drop(8)])
    joined = join(bench, a, b)
    assert not joined.event_conflicts
    assert not joined.document_conflicts


def test_a_document_that_both_forks_changed_gets_the_folded_state(bench: Bench):
    a = bench.fork("a", lambda made: made.drop(7))
    b = bench.fork("b", lambda made: made.drop(12))
    (conflict,) = join(bench, a, b).document_conflicts
    totals = [
        json.loads(text or "")["total"]
        for text in (conflict.base, conflict.a, conflict.b, conflict.joined)
    ]
    assert totals == [87, 80, 75, 68]
    assert conflict.resolved == "joined"


def test_the_projections_own_merge_decides(bench: Bench):
    bench.code(
        PROJECTION + "def merge(base, left, right):\n"
        "    return {**base, 'total': min(left['total'], right['total']), 'merged': True}\n"
    )
    a = bench.fork("a", lambda made: made.drop(7))
    b = bench.fork("b", lambda made: made.drop(12))
    joined = join(bench, a, b)
    (conflict,) = joined.document_conflicts
    assert conflict.resolved == "merged"
    history = bench.history(joined.forked_workspace)
    assert bench.total(history, "c") == 75
    assert names(joined.forked_workspace)[-1] == "29+1"
    assert EventLog(joined.forked_workspace).read_events(30, 1)[0].type == "refold.Merged"


@pytest.mark.parametrize(
    ("choice", "total"), [("a", 80), ("b", 75), ("base", 87), ('{"total": 1}', 1), ("null", None)]
)
def test_a_resolution_sets_the_state_of_a_document(bench: Bench, choice, total):
    a = bench.fork("a", lambda made: made.drop(7))
    b = bench.fork("b", lambda made: made.drop(12))
    joined = join(bench, a, b, resolutions={"c": choice})
    assert bench.total(bench.history(joined.forked_workspace), "c") == total


@pytest.mark.parametrize("wrong", [{"d": "a"}, {"c": "left"}, {"c": "merged"}])
def test_invalid_resolutions_are_refused(bench: Bench, wrong):
    a = bench.fork("a", lambda made: made.drop(7))
    b = bench.fork("b", lambda made: made.drop(12))
    with pytest.raises(QueryError):
        join(bench, a, b, resolutions=wrong)


def test_an_error_in_the_projections_merge_is_reported(bench: Bench):
    bench.code(PROJECTION + "def merge(base, left, right): raise KeyError('x')\n")
    a = bench.fork("a", lambda made: made.drop(7))
    b = bench.fork("b", lambda made: made.drop(12))
    (conflict,) = join(bench, a, b).document_conflicts
    assert "KeyError" in (conflict.error or "")
    assert conflict.resolved == "joined"


def test_forks_of_forks_are_merged_over_their_common_ancestor(bench: Bench):
    common = bench.fork("common", lambda made: made.insert(3, event("a", 5)))
    a = bench.fork("a", lambda made: made.drop(common.position_of(Label(7))), parent=common)
    b = bench.fork("b", lambda made: made.insert(3, event("b", 9)), parent=common)
    deeper = bench.fork("deeper", lambda made: made.drop(b.position_of(Label(9))), parent=b)
    joined = join(bench, a, deeper)
    assert joined.forked_workspace.fork.parent == "common"
    history = bench.history(joined.forked_workspace)
    assert [bench.total(history, key) for key in "abce"] == [80, 90, 80, 99 - 9]
    with pytest.raises(WorkspaceError, match="has all of its edits already"):
        join(bench, common, deeper, "again")


def test_a_fork_goes_to_another_workspace_and_back(bench: Bench, tmp_path_factory):
    first = bench.fork("first", lambda made: [made.drop(7), made.insert(3, event("a", 5))])
    second = bench.fork("second", lambda made: made.move(20, 25), parent=first)
    file = bench.folder / "fork.json"
    fork_file.write_fork_file(second, file)
    assert file.stat().st_size < 20_000
    other = Bench(tmp_path_factory.mktemp("other"))
    applied = fork_file.apply_fork_file(other.workspace, file, "mine")
    assert [t.name for t in fork_store.list_forks(other.workspace)] == ["first", "mine"]
    assert names(applied) == names(second)
    a, b = bench.history(second), other.history(applied)
    assert [bench.total(a, key) for key in "abcde"] == [other.total(b, key) for key in "abcde"]
    with pytest.raises(WorkspaceError, match="already"):
        fork_file.apply_fork_file(other.workspace, file, "mine")
    with pytest.raises(QueryError, match="--replace"):
        fork_file.write_fork_file(second, file)


def test_another_log_is_refused_with_the_first_difference(bench: Bench, tmp_path_factory):
    file = bench.folder / "fork.json"
    fork_file.write_fork_file(bench.fork("f", lambda made: made.drop(7)), file)
    other = Bench(tmp_path_factory.mktemp("other"))
    with other.workspace.writing() as connection:
        connection.execute("UPDATE events SET data = '{}' WHERE \"offset\" = 11")
    with pytest.raises(SourceError, match="the event at 11 is different"):
        fork_file.apply_fork_file(other.workspace, file)
    with other.workspace.writing() as connection:
        connection.execute('DELETE FROM events WHERE "offset" > 20')
    with pytest.raises(SourceError, match="has 21 events instead of at least 30"):
        fork_file.apply_fork_file(other.workspace, file)


@pytest.mark.parametrize(
    "content",
    [
        *[b"", b"{}", b"[]", b"\xff", b'{"refold_fork": 99, "log": {}, "forks": []}'],
        b'{"refold_fork":1,"log":{"events":0,"width":1,"hashes":""},"forks":[]}',
        b'{"refold_fork":1,"log":{"events":0,"width":1,"hashes":""},"forks":[{"name":"x","at":[0,0],'
        b'"note":"","steps":[[{"kind":"explode","at":[0,0]}]]}]}',
    ],
)
def test_an_invalid_fork_file_is_refused(bench: Bench, content):
    file = bench.folder / "fork.json"
    file.write_bytes(content)
    with pytest.raises(SourceError):
        fork_file.apply_fork_file(bench.workspace, file)
    assert fork_store.list_forks(bench.workspace) == []


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_edited_log_can_be_loaded_again(bench: Bench, suffix):
    fork = bench.fork(
        "f", lambda made: [made.drop(7), made.insert(3, event("a", 5)), made.set(8, "by", "1.50")]
    )
    file = bench.folder / f"edited.{suffix}"
    assert timeline_log.write_timeline_log(fork, file) == 30
    loader.load_source([str(file)], bench.folder / "edited.refold")
    again = WorkspaceFile(bench.folder / "edited.refold")

    def rows(workspace: Workspace) -> list[Any]:
        with workspace.reading() as connection:
            found = connection.execute(
                'SELECT stream, type, id, epoch_us(time), data FROM events ORDER BY "offset"'
            ).fetchall()
        return [(*row[:-1], json.loads(row[-1])) for row in found]

    assert rows(again) == rows(fork)
    assert [row.offset for row in EventLog(again).read_events(0, 100)] == list(range(30))
    with again.reading() as connection:
        ((data,),) = connection.execute("SELECT data FROM events WHERE id = 'e8'").fetchall()
    assert "1.50" in data
