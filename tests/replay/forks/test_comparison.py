"""Comparison of timelines, projections and calls; aggregates of differing documents; sweeps."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay import fold
from replay.compare import history_comparison
from replay.compare.alignment import AlignedTimelines
from replay.event_fold.fold_run import FoldCallbacks, FoldLimits, FoldRun
from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from replay.forks.sweep import fork_sweep, trial_fold, variants
from replay.query import aggregate_totals
from replay.worker_host.gateway_bridge import GatewayBridge
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import QueryError
from storage.timelines.edits import Edit
from storage.workspace.workspace import Workspace
from tests.support.fork_bench import PROJECTION, Bench, event
from tests.support.properties import examples


def differing(a: Any, b: Any, at: Any = None) -> list[tuple[str, str]]:
    return [
        (one.key, str(one.label))
        for one in history_comparison.compare_histories(a, b, at).differing_documents
    ]


def test_comparison_lists_differing_documents_and_their_first_difference(bench: Bench):
    fork = bench.fork("f", lambda made: [made.drop(7), made.set(13, "by", "0")])
    a, b = bench.history(), bench.history(fork)
    assert differing(a, b) == [("c", "7"), ("d", "13")]
    assert differing(b, a) == [("c", "7"), ("d", "13")]
    assert differing(a, b, (12, 12)) == [("c", "7")]
    assert differing(a, a) == []
    found = history_comparison.compare_histories(a, b)
    assert [(d.path_text, d.before, d.after) for d in found.differences("c")] == [("total", 87, 80)]
    state_a, state_b = found.states("d")
    assert json.loads(state_a or "")["total"] - json.loads(state_b or "")["total"] == 13


def test_a_document_that_becomes_equal_again_differs_only_in_between(bench: Bench):
    a = bench.history()
    moved = bench.history(bench.fork("f", lambda made: made.move(0, 6)))
    assert differing(a, moved) == []
    assert differing(a, moved, (4, 4)) == [("a", "0")]
    fork = bench.fork("g", lambda made: [made.set(5, "by", "6"), made.set(10, "by", "9")])
    healed = bench.history(fork)
    assert differing(a, healed) == []
    assert differing(a, healed, (7, 7)) == [("a", "5")]


def test_cousins_are_compared_by_the_events_that_they_share(bench: Bench):
    left = bench.fork("left", lambda made: made.insert(3, event("a", 5)))
    right = bench.fork("right", lambda made: [made.insert(8, event("b", 1)), made.drop(20)])
    deeper = bench.fork("deeper", lambda made: made.drop(left.position_of(Label(4))), parent=left)
    a, b, c = (bench.history(side) for side in (left, right, deeper))
    assert differing(a, b) == [("a", "3+1"), ("b", "8+1")]
    assert differing(c, b) == [("a", "3+1"), ("e", "4"), ("b", "8+1")]
    assert differing(bench.history(), c) == [("a", "3+1"), ("e", "4")]


def test_two_projections_of_one_log(bench: Bench):
    bench.code(
        PROJECTION.replace('event.data["by"]', 'event.data["by"] * (1 + (event.id == "e11"))'),
        "q.py",
    )
    a, b = bench.history(), bench.history(name="q.py")
    assert differing(a, b) == [("b", "11")]


def test_a_document_that_exists_on_one_timeline_differs(bench: Bench):
    fork = bench.fork("f", lambda made: made.append(event("new", 1)))
    found = history_comparison.compare_histories(bench.history(), bench.history(fork))
    assert [(one.key, str(one.label)) for one in found.differing_documents] == [("new", "29+1")]
    assert found.states("new")[0] is None
    assert found.states("new")[1] is not None


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(-1, 29), st.booleans()), max_size=8))
def test_aligned_coordinates_map_back_to_positions_in_order(tmp_path_factory, wished):
    bench = _bench(tmp_path_factory)
    sides = []
    for name in ("one", "two"):
        made = EditBuilder(bench.workspace, name)
        for place, first in wished:
            if first or name == "two":
                made.insert(place, event("a", 1))
        sides.append(edit_builder.create_fork(bench.workspace, name, made.edits))
    aligned = AlignedTimelines(*sides)
    for side in (aligned.a, aligned.b):
        places = range(side.workspace.position_map.position_count)
        coordinates = [side.coordinate_of(place) for place in places]
        assert coordinates == sorted(set(coordinates))
        assert [side.position_at(coordinate) for coordinate in coordinates] == list(places)
        with side.workspace.reading() as connection:
            asked = connection.execute(
                f'SELECT {side.coordinate_sql} FROM (SELECT unnest(range(?)) AS "offset") ORDER BY "offset"',
                [len(coordinates)],
            ).fetchall()
        assert [found for (found,) in asked] == coordinates


_BENCHES: list[Any] = []


def _bench(tmp_path_factory: Any) -> Any:
    from tests.support.fork_bench import Bench

    if not _BENCHES:
        _BENCHES.append(Bench(tmp_path_factory.mktemp("aligned")))
    return _BENCHES[0]


def run_of(bench: Any, workspace: Workspace, calling: GatewayBridge) -> FoldRun:
    return FoldRun(workspace, bench.refer(), 30, FoldLimits(), FoldCallbacks(), calling)


def test_trial_folds_equal_full_folds_of_each_fork(bench: Bench):
    base = bench.history()
    wishes = [
        lambda made: made.drop(7),
        lambda made: [made.replace(8, '{"type": "Failed"}'), made.insert(8, event("new", 3))],
        lambda made: made.move(2, 20),
        lambda made: made.append(event("a", 0, id="e25")),
    ]
    forks = []
    for n, wish in enumerate(wishes):
        made = EditBuilder(bench.workspace, f"t{n}")
        wish(made)
        forks.append(edit_builder.create_fork(bench.workspace, f"t{n}", made.edits))
    with GatewayBridge(bench.workspace, bench.refer()) as calling:
        found = list(
            trial_fold.try_forks(run_of(bench, bench.workspace, calling), base.fold_record, forks)
        )
    for one, fork in zip(found, forks, strict=True):
        kept = bench.history(edit_builder.save_fork(fork))
        compared = history_comparison.compare_histories(base, kept)
        assert sorted(one.differing_documents) == sorted(
            d.key for d in compared.differing_documents
        )
        for d in compared.differing_documents:
            before, after = one.differing_documents[d.key]
            state_a, state_b = compared.states(d.key)
            assert (before and before.state, after and after.state) == (state_a, state_b)
            assert str(fork.label_at(one.diverged_at[d.key])) == str(d.label)
    assert [one.failure_count for one in found] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "text", ["sum(state.total)", "count(*)", "avg(state.total)", "sum(state.total) / count(*) + 1"]
)
def test_totals_are_those_of_all_documents(bench: Bench, text):
    fork = bench.fork("f", lambda made: [made.drop(0), made.append(event("new", 100))])
    sums = {"a": 75, "b": 81, "c": 87, "d": 93, "e": 99, "new": 100}
    expected = {
        "sum(state.total)": sum(sums.values()),
        "count(*)": 6,
        "avg(state.total)": sum(sums.values()) / 6,
        "sum(state.total) / count(*) + 1": sum(sums.values()) / 6 + 1,
    }
    assert aggregate_totals.compute_totals(bench.history(fork), [text], 30) == [
        pytest.approx(expected[text])
    ]


def test_totals_keep_digits_beyond_double_precision(bench: Bench):
    bench.code("DECIMALS = True\n" + PROJECTION)
    fork = bench.fork("f", lambda made: made.set(0, "by", "12345678901234567.25"))
    history = bench.history(fork)
    found = aggregate_totals.AggregateTotals(history, ["sum(state.total) - 12345678901234567"], 29)
    assert found.values == [435.25]


def test_a_sweep_ranks_forks_by_an_aggregate(bench: Bench):
    base = bench.history()
    varied = variants.build_value_variants(
        bench.workspace, "s", [7], "by", ["1", "100", '"wrong"', "7"]
    )
    swept = fork_sweep.sweep_variants(
        bench.workspace, bench.refer(), base.fold_record, varied, ["sum(state.total)"]
    )
    assert swept.base_values == [435]
    ranked = [(one.variant.label, one.values[0], one.differing_documents) for one in swept.rank()]
    assert ranked == [
        ("by = 100", 528, 1),
        ("by = 7", 435, 0),
        ("by = 1", 429, 1),
        ('by = "wrong"', 428, 1),
    ]
    assert swept.rank(ascending=True)[0].variant.label == 'by = "wrong"'
    best = edit_builder.save_fork(swept.rank()[0].variant.forked_workspace)
    assert bench.total(bench.history(best), "c") == 87 + 93


def test_a_sweep_makes_one_fork_per_dropped_event(bench: Bench):
    base = bench.history()
    places = EditBuilder(bench.workspace, "s").find_matching_positions("stream = 'e'")
    varied = variants.build_drop_variants(bench.workspace, "s", places)
    swept = fork_sweep.sweep_variants(
        bench.workspace, bench.refer(), base.fold_record, varied, ["sum(state.total)"]
    )
    assert [one.values[0] for one in swept.rank()] == [435 - n for n in (4, 9, 14, 19, 24, 29)]
    with pytest.raises(QueryError, match="has no values and no events"):
        variants.build_drop_variants(bench.workspace, "s", [])


def test_a_sweep_over_a_fork_starts_from_the_fork(bench: Bench):
    fork = bench.fork("f", lambda made: [made.insert(3, event("a", 1000)), made.drop(10)])
    base = bench.history(fork)
    places = EditBuilder(fork, "s").find_matching_positions("stream = 'a'")
    varied = variants.build_drop_variants(fork, "s", places)
    swept = fork_sweep.sweep_variants(
        fork, bench.refer(), base.fold_record, varied, ["sum(state.total)"]
    )
    whole = 435 + 1000 - 10
    assert swept.base_values == [whole]
    assert {one.variant.label: one.values[0] for one in swept.outcomes} == {
        "without 0": whole,
        "without 3+1": whole - 1000,
        **{f"without {n}": whole - n for n in (5, 15, 20, 25)},
    }


ROUTED = PROJECTION + 'def key(event): return event.data.get("to", event.stream)\n'


def test_trials_of_a_projection_that_routes(bench: Bench):
    bench.code(ROUTED)
    base = bench.history()
    made = EditBuilder(bench.workspace, "t")
    made.set(7, "to", '["x", "a"]')
    fork = edit_builder.create_fork(bench.workspace, "t", made.edits)
    with GatewayBridge(bench.workspace, bench.refer()) as calling:
        (one,) = trial_fold.try_forks(
            run_of(bench, bench.workspace, calling), base.fold_record, [fork]
        )
    kept = history_comparison.compare_histories(base, bench.history(edit_builder.save_fork(fork)))
    assert (
        sorted(one.differing_documents)
        == sorted(d.key for d in kept.differing_documents)
        == ["a", "c", "x"]
    )


def test_a_fork_with_other_code_continues_from_states_of_another_projection(bench: Bench):
    bench.history()
    fixed = bench.code(PROJECTION.replace('event.data["by"]', '2 * event.data["by"]'), "fixed.py")
    made = edit_builder.create_fork(
        bench.workspace, "hotfix", [Edit(EditKind.BASE, Label(0), value="p")], fork_position=14
    )
    history = bench.history(edit_builder.save_fork(made), "fixed.py")
    for place, key in enumerate("abcde"):
        numbers = range(place, 30, 5)
        expected = sum(n if n < 15 else 2 * n for n in numbers)
        assert bench.total(history, key) == expected
    assert history.fold_record.change_count == 30
    assert fixed.name == history.fold_record.name
    assert [forked.timeline for forked in history.workspace.lineage] == [made.timeline]
    assert fold.fold_projection(history.workspace, fixed) == history.fold_record
