"""The repositories of folds: each reads the rows of its own fold, and of no other."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from storage.coordinates.fold_scope import FoldScope
from storage.folds import fold_rows, fork_base_rows, projection_rows
from storage.folds.decision_rows import DecisionRows, ReadRows
from storage.folds.document_rows import DocumentRow, DocumentRows
from storage.folds.failure_rows import FailureRows
from storage.folds.fold_insertion import FoldInsertion
from storage.folds.fold_rows import FoldRow
from storage.folds.fork_base_rows import ForkBase
from storage.folds.history_rows import ChangeRow, HistoryRows
from storage.folds.key_bucket import BUCKET_SQL, compute_bucket
from storage.folds.key_selection import KeySelection
from storage.folds.part_rows import DocumentPartRows, PartRows
from storage.folds.projection_rows import ProjectionRow
from storage.folds.report_rows import InvariantRows, PrintedRows, UpcastRows, read_offsets
from storage.folds.route_rows import RouteRows
from storage.workspace import schema
from storage.workspace.new_workspace import create_workspace
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile

OWN = FoldScope(1, "it's main")
OTHERS = (FoldScope(2, "it's main"), FoldScope(1, "fork"))
TOTALS = FoldRow(
    *(0, 4, 1, {"Noted": 1}, 1, 2, 4, 2, True, 1, 7, "sandbox", None, 1.5, "digest"),
)


def projection(code_hash: str, reference: str = "/p.py") -> ProjectionRow:
    return ProjectionRow("p", code_hash, reference, "python", {"p.py": "1"}, {"low": None}, "")


def insert_fold(insertion: FoldInsertion, mark: str) -> None:
    """Insert a fold of two documents, the second in parts; `mark` tells it from other folds."""
    states = [f'{{"{mark}": 1, "n": 1}}', "{}", f'{{"{mark}": 1, "n": 2}}', "{}"]
    insertion.insert_history(
        pa.table(
            {
                "key": ["a", "b", "a", "b"],
                "offset": [0, 1, 2, 3],
                "change": [0, 1, 2, 3],
                "state": states,
                "previous": pa.array([None, None, 0, 1], pa.int64()),
                "in_parts": [False, True, False, True],
            }
        )
    )
    insertion.insert_parts(
        pa.table(
            {
                "key": ["b", "b", "b"],
                "offset": [1, 1, 3],
                "change": [1, 1, 3],
                "part": ["", "/x", "/x"],
                "place": [[], [1], None],
                "state": ["{}", f'"{mark}"', '"later"'],
            }
        )
    )
    insertion.insert_documents(pa.table({"ordinal": [0, 1], "key": ["a", "b"], "born": [0, 1]}))
    insertion.insert_routes(pa.table({"offset": [0, 1], "key": [f"a{mark}", f"b{mark}"]}))
    insertion.insert_reports(
        schema.FAILURES,
        [
            {"offset": 2, "key": "a", "type": "Paid", "error": mark, "traceback": "t"},
            {"offset": 3, "key": None, "type": "Lost", "error": mark, "traceback": "t"},
        ],
    )
    insertion.insert_reports(
        schema.TURNS,
        [
            {"invariant": "low", "offset": 1, "key": "a", "broken": True, "error": mark},
            {"invariant": "low", "offset": 3, "key": "a", "broken": False, "error": None},
        ],
    )
    insertion.insert_reports(schema.PRINTED, [{"offset": 2, "place": 0, "text": mark, "key": "a"}])
    insertion.insert_reports(
        schema.UPCASTS,
        [{"offset": 1, "stream": "b", "type": mark, "version": "2", "data": "{}"}],
    )
    insertion.insert_reports(schema.READS, [{"offset": 2, "key": "a", "read": f"time.{mark}"}])
    insertion.insert_recorded_decisions(
        pa.table(
            {
                "offset": [0, 2],
                "key": [mark, mark],
                "ordinal": pa.array([0, 0], pa.int32()),
                "call": [1, 2],
                "decision": ["recorded", "recorded"],
            }
        )
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    path = tmp_path / "w.refold"
    with create_workspace(path) as connection:
        for code_hash in ("1", "2"):
            number = projection_rows.register_projection(connection, projection(code_hash))
            assert number == int(code_hash)
        for scope, mark in ((OWN, "own"), *((other, "other") for other in OTHERS)):
            insert_fold(FoldInsertion(connection, scope), mark)
            fold_rows.write_fold(connection, scope, TOTALS)
    opened = WorkspaceFile(path)
    yield opened
    opened.close()


def test_history(workspace: Workspace) -> None:
    rows = HistoryRows(workspace, OWN)
    first, last = '{"own": 1, "n": 1}', '{"own": 1, "n": 2}'
    assert rows.read_last_changes("a", 3, 2) == [
        ChangeRow(2, 2, False, last),
        ChangeRow(0, 0, False, first),
    ]
    assert rows.read_last_changes("a", 1, 1) == [ChangeRow(0, 0, False, first)]
    assert (rows.find_next_offset("a", 0), rows.find_next_offset("a", 2)) == (2, None)
    assert (rows.find_previous_offset("a", 2), rows.find_previous_offset("a", 0)) == (0, None)
    assert rows.read_states([0, 2]) == {(0, "a"): first, (2, "a"): last}
    assert [
        (row.key, row.change.offset, row.previous) for row in rows.read_changes_between(1, 2)
    ] == [
        ("b", 1, None),
        ("a", 2, 0),
    ]
    assert rows.read_last_change_of_each(["a", "b"], 2) == {
        "a": ChangeRow(0, 0, False, first),
        "b": ChangeRow(1, 1, True, "{}"),
    }
    assert rows.read_last_change_of_each([], 2) == {}
    assert (rows.find_keys_at(2), rows.find_keys_at(9)) == (["a"], [])
    assert (rows.has_value("/own"), rows.has_value("/other")) == (True, False)
    assert (rows.count_changes(), rows.count_changes(1, KeySelection(["a"]))) == (4, 1)
    assert rows.read_changes_of(["a"])["offset"].to_pylist() == [0, 2]
    assert rows.read_latest_states(["a", "b"], 2)["change"].sort().to_pylist() == [0, 1]
    assert rows.read_latest_change_numbers(["a"], 9) == {"a": 2}
    assert rows.read_change_numbers(1, "SELECT 'a'")["change"].to_pylist() == [2]
    found = rows.read_keys_of_changes(pa.table({"change": [1, 2], "holds": [True, False]}), 0, 3)
    assert found.to_pylist() == [
        {"offset": 1, "key": "b", "holds": True},
        {"offset": 2, "key": "a", "holds": False},
    ]


def test_initial_states_are_no_changes(workspace: Workspace) -> None:
    rows = HistoryRows(workspace, OWN, first_offset=1)
    assert rows.find_previous_offset("a", 2) is None
    assert rows.find_keys_at(0) == []
    steps = rows.iterate_steps("a", "/n", after=-1, until=9, backwards=False, may_be_in_parts=True)
    assert [(step.change.offset, step.previous) for step in steps] == [(2, 0)]


@pytest.mark.parametrize("pointer", ["/n", "/missing"])
def test_steps_are_those_that_may_change_the_value(workspace: Workspace, pointer: str) -> None:
    rows = HistoryRows(workspace, OWN)
    steps = list(
        rows.iterate_steps("a", pointer, after=0, until=9, backwards=True, may_be_in_parts=False)
    )
    assert [step.change.offset for step in steps] == ([2] if pointer == "/n" else [])
    assert all(step.state_before == '{"own": 1, "n": 1}' for step in steps)


def test_documents_at_a_position(workspace: Workspace) -> None:
    rows = HistoryRows(workspace, OWN)
    (batch,) = rows.iterate_documents_at(1, may_be_in_parts=True)
    assert batch.to_pylist() == [
        {"key": "a", "offset": 0, "state": '{"own": 1, "n": 1}'},
        {"key": "b", "offset": 1, "state": '{"x":"own"}'},
    ]
    differences = list(rows.iterate_differences(1, 3, may_be_in_parts=True))
    assert differences == [
        ("a", '{"own": 1, "n": 1}', '{"own": 1, "n": 2}'),
        ("b", '{"x":"own"}', '{"x":"later"}'),
    ]


def test_parts(workspace: Workspace) -> None:
    rows = PartRows(workspace, OWN)
    assert rows.read_states([1]) == [(1, "b", "", "{}"), (1, "b", "/x", '"own"')]
    assert rows.read_kinds(["", "/x", "/y"]) == {"": (False, True), "/x": (True, False)}
    assert (rows.has_value("/x", ""), rows.has_value("/y", "")) == (True, False)
    document = DocumentPartRows(workspace, OWN, "b")
    assert (document.read_json(1), document.read_json(3)) == ('{"x":"own"}', '{"x":"later"}')
    assert set(document.read_live_parts(3)["state"].to_pylist()) == {"{}", '"later"'}
    live, last_place = document.read_live_parts_before(3)
    assert (live["state"].to_pylist(), last_place) == (["{}", '"own"'], 1)
    assert document.read_changes("offset", 3, 3) == [(3, "/x", None, '"later"')]
    assert document.read_states_before("change", 3, ["/x"]) == [("/x", '"own"', 1)]
    steps = document.iterate_steps("/x", ["", "/x"], after=1, until=3, backwards=False)
    assert list(steps) == [(3, "/x", '"own"', '"later"')]


def test_documents(workspace: Workspace) -> None:
    rows = DocumentRows(workspace, OWN)
    a, b = DocumentRow(0, "a", 0), DocumentRow(1, "b", 1)
    assert (rows.read_page(0, 5), rows.read_page(1, 1)) == ([a, b], [b])
    assert (rows.count_until(-1), rows.count_until(0), rows.count_until(9)) == (0, 1, 2)
    assert (rows.find_ordinal("b"), rows.find_ordinal("c")) == (1, None)
    assert rows.find_containing("B", 5) == [b]
    chosen = KeySelection(["b"])
    assert rows.read_created_since(0, chosen) == [b]
    assert rows.read_others_created_since(0, chosen) == [a]
    assert rows.read_others_created_since(0, KeySelection(None)) == []


def test_failures(workspace: Workspace) -> None:
    rows = FailureRows(workspace, OWN)
    assert [(one.offset, one.error) for one in rows.read_from(0)] == [(2, "own"), (3, "own")]
    assert [one.offset for one in rows.read_from(0, 1)] == [2]
    assert [one.key for one in rows.read_at(3)] == [None]
    assert rows.find_unrouted([2, 3]) == {3}
    assert rows.count_since(0, KeySelection(["b"]), [3]) == 1
    assert rows.count_since(0, KeySelection(["a"]), []) == 1
    assert rows.count_since(3, KeySelection(None), []) == 1
    assert list(read_offsets(workspace, OWN, "failures")) == [2, 3]


def test_reports(workspace: Workspace) -> None:
    (violation,) = InvariantRows(workspace, OWN).read_violations()
    assert (violation.error, violation.offset, violation.until) == ("own", 1, 3)
    assert InvariantRows(workspace, OWN).find_broken("a", 2) == ["low"]
    assert InvariantRows(workspace, OWN).find_broken("a", 3) == []
    upcast = UpcastRows(workspace, OWN).read_at(1)
    assert upcast is not None
    assert upcast.type == "own"
    assert UpcastRows(workspace, OWN).read_types([0, 1]) == {1: "own"}
    assert PrintedRows(workspace, OWN).read_at(2) == "own"
    assert list(PrintedRows(workspace, OWN).iterate_texts()) == [(2, "own")]


def test_calls_and_reads(workspace: Workspace) -> None:
    rows = DecisionRows(workspace, OWN)
    assert [row["call"] for row in rows.read_page(1, 5)] == [2]
    assert [row["call"] for page in rows.iterate_pages(1) for row in page] == [1]
    pages = rows.iterate_pages_of_document("own", 1)
    assert [row["call"] for page in pages for row in page] == [1]
    assert [row["call"] for page in rows.iterate_pages_between(1, 2) for row in page] == [2]
    assert (rows.read_offsets(9), rows.find_keys_since(2)) == ([0, 2], {"own"})
    assert rows.count_since(1, KeySelection(None), []) == 1
    assert ReadRows(workspace, OWN).read_all() == [(2, "time.own")]
    assert ReadRows(workspace, OWN).read_between(0, 5) == {2: ["time.own"]}


def test_routes(workspace: Workspace) -> None:
    rows = RouteRows(workspace, OWN)
    assert rows.has_rows()
    assert not RouteRows(workspace, FoldScope(9, "it's main")).has_rows()
    assert (rows.find_first_key(1), rows.find_first_key(3)) == ("bown", None)
    assert rows.read_to_keys(["aown", "aother"]) == [(0, "aown")]
    assert rows.read_to_keys(["aown"], since=1) == []
    assert rows.read_keys_by_offset([0, 1]) == {0: {"aown"}, 1: {"bown"}}


def test_totals_and_projections(workspace: Workspace) -> None:
    with workspace.reading() as connection:
        assert fold_rows.read_fold(connection, OWN) == TOTALS
        assert fold_rows.read_fold(connection, FoldScope(3, "it's main")) is None
        # Both have one reference, so the second projection has superseded the first.
        (found,) = fold_rows.find_folds(connection, "it's main", reference="/p.py")
        assert (found.scope, found.projection, found.totals) == (OTHERS[0], projection("2"), TOTALS)
        assert fold_rows.find_folds(connection, "it's main", python="another") == []
        (by_number,) = fold_rows.find_folds(connection, "it's main", projection_number=1)
        assert by_number.scope == OWN
        assert fold_rows.count_folds(connection) == 3
        assert projection_rows.find_projection_number(connection, "p", "2") == 2
        assert projection_rows.find_projection_number(connection, "p", "3") is None
    assert projection_rows.read_python(workspace, 1) == "python"
    assert projection_rows.read_python(workspace, 9) == ""


def test_deleting_one_fold_leaves_the_others(workspace: Workspace) -> None:
    with workspace.writing() as connection:
        fold_rows.delete_fold(connection, OWN.projection_number, OWN.timeline)
        assert fold_rows.count_written_changes(connection, OWN) == 0
        assert [fold_rows.count_written_changes(connection, other) for other in OTHERS] == [4, 4]
        assert fold_rows.read_fold(connection, OWN) is None


def test_base_of_a_fork(workspace: Workspace) -> None:
    base = ForkBase(1, 3, False, 2, 17, None)
    with workspace.writing() as connection:
        fork_base_rows.write_fork_base(connection, OTHERS[1], base, {"b", "a"})
        assert fork_base_rows.read_fork_base(connection, OTHERS[1]) == base
        assert fork_base_rows.read_fork_base(connection, OWN) is None
        keys = connection.execute(fork_base_rows.refolded_keys_sql(OTHERS[1])).fetchall()
    assert sorted(keys) == [("a",), ("b",)]


@pytest.mark.parametrize("key", ["", "order-17", "Ä€", "it's"])
def test_bucket_equals_that_of_duckdb(workspace: Workspace, key: str) -> None:
    with workspace.reading() as connection:
        ((bucket,),) = connection.execute(
            f"SELECT {BUCKET_SQL} FROM (SELECT ? AS key)", [key]
        ).fetchall()
    assert bucket == compute_bucket(key)
