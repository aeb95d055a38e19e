"""Two writers of one workspace: in any order, no write that was reported as done is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replay import fold
from replay.erasure import ErasureRequest, erase
from replay.event_fold import state_recall
from replay.event_fold.fold_run import FoldCallbacks
from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from replay.history import catalogue
from storage.db.query import fetch_arrow
from storage.errors import RefoldError, StaleError, WorkspaceError
from storage.folds import fold_rows
from storage.marks import bookmarks, watches
from storage.timelines import fork_store, forked_workspace
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.fork_bench import PROJECTION, Bench
from tui import cli
from tui.state import fork_edits

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
TOGETHER = 10


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tui.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def at_once(folder: Path, commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Run commands at the same time and return exit code, output and errors of each."""
    running = [started(folder, *command) for command in commands]
    found = []
    for process in running:
        out, err = process.communicate(timeout=300)
        found.append((process.returncode, out, err))
    return found


def another(bench: Bench) -> Workspace:
    """Open the workspace as another process would, without holding a reader's lock."""
    bench.workspace.release()
    opened = WorkspaceFile(bench.workspace.path, wait_seconds=5)
    opened.release()
    return opened


def fork_of(bench: Bench, name: str) -> ForkedWorkspace:
    return forked_workspace.open_fork(WorkspaceFile(bench.workspace.path), name)


def test_concurrent_edits_are_all_saved(bench: Bench) -> None:
    bench.fork("f", lambda made: made.drop(20))
    bench.workspace.release()
    commands = [["edit", "log.refold", "f", "--drop", str(n)] for n in range(TOGETHER)]
    assert [code for code, *_ in at_once(bench.folder, commands)] == [0] * TOGETHER
    fork = fork_of(bench, "f").fork
    assert sorted(edit.label.offset for edit in fork.active_edits) == [*range(TOGETHER), 20]
    assert len({edit.number for edit in fork.edits}) == TOGETHER + 1


def test_concurrent_inserts_after_one_event_get_different_labels(bench: Bench) -> None:
    bench.fork("f", lambda made: made.drop(20))
    bench.workspace.release()
    commands = [
        ["edit", "log.refold", "f", "--insert", f'3={{"type": "Added", "stream": "s{n}"}}']
        for n in range(4)
    ]
    assert [code for code, *_ in at_once(bench.folder, commands)] == [0] * 4
    labels = [edit.label.inserted for edit in fork_of(bench, "f").fork.active_edits]
    assert sorted(labels) == [0, 1, 2, 3, 4]


def test_one_of_several_concurrent_forks_of_one_name_is_created(bench: Bench) -> None:
    bench.workspace.release()
    commands = [["fork", "log.refold", "f", "--drop", str(n % 2)] for n in range(TOGETHER)]
    found = at_once(bench.folder, commands)
    assert sorted(code for code, *_ in found) == [0] + [2] * (TOGETHER - 1)
    for code, _, errors in found:
        assert code == 0 or "A timeline called f already exists" in errors
    assert len(fork_of(bench, "f").fork.active_edits) == 1


def test_concurrent_folds_of_one_projection_give_one_history(bench: Bench) -> None:
    bench.workspace.release()
    commands = [["replay", "log.refold", "-p", "p.py", "--json", "--force"] for _ in range(4)]
    found = at_once(bench.folder, commands)
    assert [code for code, *_ in found] == [0] * 4, [errors for *_, errors in found]
    assert {json.loads(out)["changes"] for _, out, _ in found} == {30}
    history = bench.history()
    with history.workspace.reading() as connection:
        assert connection.execute("SELECT count(*) FROM history").fetchall() == [(30,)]


def test_replay_during_a_removal_ends_with_a_message_or_a_history(bench: Bench) -> None:
    bench.workspace.release()
    commands = [["replay", "log.refold", "-p", "p.py"] for _ in range(3)]
    commands.insert(1, ["remove", "log.refold", "--stream", "a", "--yes"])
    found = at_once(bench.folder, commands)
    for _, _, errors in found:
        assert "Unexpected error" not in errors
        assert "Traceback" not in errors
    assert [code for code, *_ in found] == [0] * 4, [errors for *_, errors in found]
    history = bench.history()
    assert history.state_at("a", 29) is None


def test_concurrent_appends_load_each_event_once(tmp_path: Path) -> None:
    def rows(first: int, last: int) -> str:
        return "".join(
            json.dumps({"id": n, "type": "T", "stream": "s", "data": {"n": n}}) + "\n"
            for n in range(first, last)
        )

    (tmp_path / "a.jsonl").write_text(rows(0, 10))
    assert at_once(tmp_path, [["load", "a.jsonl", "-o", "w.refold"]] * 3) != []
    (tmp_path / "a.jsonl").write_text(rows(0, 20))
    found = at_once(tmp_path, [["load", "a.jsonl", "-o", "w.refold"]] * 4)
    assert [code for code, *_ in found] == [0] * 4, [errors for *_, errors in found]
    with WorkspaceFile(tmp_path / "w.refold").reading() as connection:
        ids = connection.execute('SELECT id FROM events ORDER BY "offset"').fetchall()
    assert [int(id_) for (id_,) in ids] == list(range(20))


def test_concurrent_loads_into_one_new_file_do_not_replace_each_other(
    tmp_path: Path,
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(
            json.dumps({"id": name, "type": "T", "stream": "s", "data": {}}) + "\n"
        )
    found = at_once(tmp_path, [["load", f"{name}.jsonl", "-o", "w.refold"] for name in "ab"])
    assert sorted(code for code, *_ in found) == [0, 2]
    assert not list(tmp_path.glob("*.loading-*"))


def test_edit_from_an_open_screen_keeps_edits_of_others(bench: Bench) -> None:
    shown = bench.fork("f", lambda made: made.drop(20))
    other = another(bench)
    fork_edits.make(
        forked_workspace.open_timeline(other, "f"), None, lambda step, at: step.drop(at), 3
    )
    other.close()
    made = fork_edits.make(shown, None, lambda step, at: step.drop(at), 7)
    assert [edit.label.offset for edit in made.fork.active_edits] == [20, 3, 7]
    undone = fork_edits.turn(shown, edit_builder.undo_last_step)
    assert undone is not None
    assert [edit.label.offset for edit in undone.fork.active_edits] == [20, 3]
    redone = fork_edits.turn(shown, edit_builder.redo_last_step)
    assert redone is not None
    assert [edit.label.offset for edit in redone.fork.active_edits] == [20, 3, 7]


def test_edit_applies_to_the_selected_event_after_an_insert_by_others(
    bench: Bench,
) -> None:
    shown = bench.fork("f", lambda made: made.drop(20))
    other = another(bench)
    fork_edits.make(
        forked_workspace.open_timeline(other, "f"),
        None,
        lambda step, at: step.insert(at, '{"type": "Added", "stream": "z"}'),
        2,
    )
    other.close()
    made = fork_edits.make(shown, None, lambda step, at: step.drop(at), 7)
    assert made.fork.active_edits[-1].label.offset == 7


def test_removed_values_do_not_return_with_an_edit_an_undo_or_a_fold(bench: Bench) -> None:
    shown = bench.fork("f", lambda made: made.set(0, "email", '"ann@example.org"'))
    shown = fork_edits.make(shown, None, lambda step, at: step.drop(at), 9)
    other = another(bench)
    erase(other, ErasureRequest(value_paths=("data.email",)))
    other.close()
    undone = fork_edits.turn(shown, edit_builder.undo_last_step)
    assert undone is not None
    fork_edits.turn(shown, edit_builder.redo_last_step)
    made = fork_edits.make(shown, None, lambda step, at: step.set(at, "by", "5"), 0)
    assert '"by":5' in (made.fork.active_edits[-1].event.data or "")  # type: ignore[union-attr]
    with pytest.raises(StaleError):
        fold.fold_projection(shown, bench.refer())
    with made.main_workspace.reading() as connection:
        for table in ("edits", "history", "events"):
            assert "ann@example.org" not in str(
                fetch_arrow(connection, f"FROM {table}").to_pylist()
            )


def test_event_that_others_changed_during_an_edit_is_not_replaced(bench: Bench) -> None:
    shown = bench.fork("f", lambda made: made.set(0, "email", '"ann@example.org"'))
    with_email = EditBuilder(shown, "f")._load_event(0)
    erase(another(bench), ErasureRequest(value_paths=("data.email",)))
    with pytest.raises(RefoldError, match="was changed by another refold while you edited it"):
        fork_edits.make(shown, None, lambda step, at: step.replace(at, "{}", with_email), 0)


def test_removed_fork_does_not_return_with_its_fold(bench: Bench) -> None:
    shown = bench.fork("f", lambda made: made.drop(3))
    other = another(bench)
    fork_store.remove_fork(other, "f")
    other.close()
    with pytest.raises(WorkspaceError, match="removed or renamed"):
        fold.fold_projection(shown, bench.refer())
    with pytest.raises(WorkspaceError, match="no timeline called 'f'"):
        fork_edits.make(shown, None, lambda step, at: step.drop(at), 4)
    with pytest.raises(WorkspaceError, match="no timeline called 'f'"):
        bookmarks.add_bookmark(shown, offset=3, note="here")
    assert fork_store.list_forks(WorkspaceFile(bench.workspace.path)) == []


@pytest.mark.parametrize("of", ["the log", "a fork"])
def test_fold_that_began_before_a_removal_stores_no_removed_value(bench: Bench, of: str) -> None:
    """The removal happens after the fold has read the events and before it writes."""
    bench.code(PROJECTION.replace("event.id", "event.data.get('email')"))
    with bench.workspace.writing() as connection:
        connection.execute("""UPDATE events SET data = '{"by": 1, "email": "ann@example.org"}'""")
    shown: Workspace = bench.workspace
    if of == "a fork":
        bench.history()
        shown = bench.fork("f", lambda made: made.drop(3))
    removed: list[Any] = []

    def progress(_: Any) -> None:
        if not removed:
            bench.workspace.release()
            other = another(bench)
            removed.append(erase(other, ErasureRequest(value_paths=("data.email",))))
            other.close()

    folded = fold.fold_projection(shown, bench.refer(), callbacks=FoldCallbacks(progress))
    assert removed
    assert folded.next_offset == 30
    with bench.workspace.reading() as connection:
        assert "ann@example.org" not in str(connection.sql("FROM history").fetchall())


def test_fold_of_a_fork_whose_edits_were_changed_by_a_removal_is_refused(bench: Bench) -> None:
    """The caller's copy of the edits holds the removed value."""
    bench.history()
    shown = bench.fork("f", lambda made: made.set(0, "email", '"ann@example.org"'))
    removed: list[Any] = []

    def progress(_: Any) -> None:
        if not removed:
            bench.workspace.release()
            other = another(bench)
            removed.append(erase(other, ErasureRequest(value_paths=("data.email",))))
            other.close()

    with pytest.raises(StaleError, match="rewritten by another refold"):
        fold.fold_projection(shown, bench.refer(), callbacks=FoldCallbacks(progress))
    assert removed
    with bench.workspace.reading() as connection:
        assert "ann@example.org" not in str(connection.sql("FROM history").fetchall())


def test_resumed_fold_restarts_if_another_process_deleted_the_history(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States that JSON can't hold are restored from their events, which are still there."""
    code = PROJECTION.replace('state["last"] = event.id', 'state["last"] = (event.id,)')
    bench.code(code)
    bench.history()
    with bench.workspace.writing() as connection:
        connection.execute(
            'INSERT INTO events SELECT * REPLACE ("offset" + 30 AS "offset") FROM events'
        )
    number = catalogue.get_fold_by_name(bench.workspace, "p").projection_number
    recall, deleted = state_recall.recall_events, []

    def recall_after_a_deletion(*arguments: Any, **options: Any) -> Any:
        """Delete the history as `replay --force` does, when the resumed fold has begun."""
        if not deleted:
            bench.workspace.release()
            other = another(bench)
            with other.writing() as connection:
                fold_rows.delete_fold(connection, number, "main")
            other.close()
            deleted.append(number)
        return recall(*arguments, **options)

    monkeypatch.setattr(state_recall, "recall_events", recall_after_a_deletion)
    folded = fold.fold_projection(bench.workspace, bench.refer())
    assert deleted
    assert (folded.next_offset, folded.change_count, folded.document_count) == (60, 60, 5)
    with bench.workspace.reading() as connection:
        assert connection.sql("SELECT count(*), max(change) FROM history").fetchall() == [(60, 59)]


def test_replay_of_a_fork_that_is_edited_meanwhile_folds_the_edited_fork(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.history()
    bench.fork("f", lambda made: made.drop(20))
    fold_projection, edited = fold.fold_projection, []

    def fold_after_an_edit(workspace: Workspace, *arguments: Any, **options: Any) -> Any:
        if not edited:
            workspace.release()
            other = another(bench)
            fork = forked_workspace.open_timeline(other, "f")
            edited.append(fork_edits.make(fork, None, lambda step, at: step.drop(at), 3))
            other.close()
        return fold_projection(workspace, *arguments, **options)

    monkeypatch.setattr(fold, "fold_projection", fold_after_an_edit)
    monkeypatch.chdir(bench.folder)
    bench.workspace.release()
    command = ["replay", "log.refold", "-p", "p.py", "--timeline", "f", "--json"]
    assert cli.run_command(command) == 0
    assert edited
    result = json.loads(capsys.readouterr().out)
    assert (result["timeline"], result["changes"]) == ("f", 28)


def test_watch_added_by_two_screens_is_saved_once(bench: Bench) -> None:
    other = another(bench)
    for workspace in (bench.workspace, other):
        watches.add_watch(workspace, "states", "state.total > 3")
        workspace.release()
    assert len(watches.list_watches(bench.workspace)) == 1


def test_write_from_an_older_generation_is_refused_once(bench: Bench) -> None:
    other = another(bench)
    other.release()
    erase(bench.workspace, ErasureRequest(streams=("a",)))
    with pytest.raises(StaleError, match="rewritten by another refold"):
        watches.add_watch(other, "states", "true")
    watches.add_watch(other, "states", "true")
