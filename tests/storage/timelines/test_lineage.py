"""A workspace on the log and one on a fork: both answer the same questions about their timeline."""

import pytest

from storage.errors import WorkspaceError
from storage.timelines import forked_workspace
from storage.timelines.forked_workspace import as_fork, list_fork_values, list_lineage
from storage.workspace.workspace import Workspace
from tests.support.fork_bench import Bench


def names(workspace: Workspace) -> list[str]:
    return [forked.timeline for forked in list_lineage(workspace)]


def test_lineage_lists_the_forks_from_the_log_on(bench: Bench) -> None:
    child = bench.fork("child", lambda builder: builder.drop(20))
    grandchild = bench.fork("grandchild", lambda builder: builder.drop(10), child)
    assert names(bench.workspace) == []
    assert names(child) == ["child"]
    assert names(grandchild) == ["child", "grandchild"]
    assert [fork.name for fork in list_fork_values(grandchild)] == ["child", "grandchild"]
    assert as_fork(bench.workspace) is None
    assert as_fork(grandchild) is grandchild
    assert grandchild.main_workspace is bench.workspace


def test_both_read_metadata_and_events_of_their_timeline(bench: Bench) -> None:
    child = bench.fork("child", lambda builder: builder.drop(20))
    timelines: list[tuple[Workspace, int]] = [(bench.workspace, 30), (child, 29)]
    for workspace, events in timelines:
        assert workspace.get_metadata("format_version") is not None
        with workspace.reading() as connection:
            assert connection.execute("SELECT count(*) FROM events").fetchall() == [(events,)]


def test_only_a_fork_is_opened_as_one(bench: Bench) -> None:
    bench.fork("child", lambda builder: builder.drop(20))
    assert forked_workspace.open_fork(bench.workspace, "child").timeline == "child"
    with pytest.raises(WorkspaceError, match="main is the log itself"):
        forked_workspace.open_fork(bench.workspace, "main")
    with pytest.raises(WorkspaceError, match="missing"):
        forked_workspace.open_fork(bench.workspace, "missing")
