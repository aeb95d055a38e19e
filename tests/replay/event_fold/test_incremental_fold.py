"""Only new events are folded; earlier events are folded again only if the code has changed."""

from typing import Any

import pytest

from replay import fold
from replay.event_fold.fold_run import FoldCallbacks
from storage.errors import ProjectionError
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.projection_studio import Studio

SEEN = """
    SEEN = []
    def apply(state, event):
        SEEN.append(event.offset)
        state["n"] = state.get("n", 0) + 1
        state["seen by this process"] = list(SEEN)
"""


def test_after_an_append_only_new_events_are_folded(studio: Studio):
    studio.events(("a", "T", {}), ("b", "T", {}))
    studio.file("p.py", SEEN)
    studio.fold()
    studio.events(("a", "T", {}), ("c", "T", {}))
    folded = studio.fold()
    assert studio.changes(folded)[2:] == [
        (2, "a", {"n": 2, "seen by this process": [2]}),
        (3, "c", {"n": 1, "seen by this process": [2, 3]}),
    ]
    assert (folded.next_offset, folded.document_count, folded.change_count) == (4, 3, 4)


@pytest.mark.parametrize("state", ["[]", pytest.param("set()", marks=pytest.mark.slow)])
@pytest.mark.parametrize("key", ["", "def key(event): return [event.stream, 'all']"])
def test_folding_in_steps_equals_folding_from_the_start(studio: Studio, state, key):
    add = "append" if state == "[]" else "add"
    studio.file(
        "p.py",
        f"{key}\ndef initial(key): return {state}\n"
        f"def apply(state, event):\n    state.{add}(event.data['n'])\n"
        "    if event.data['n'] == 5: raise ValueError\n"
        "def on_Gone(state, event): return event.DELETED\n",
    )
    kinds = ["T", "T", "Gone", "T"]
    for step in range(5):
        studio.events(*[("abcd"[(n + step) % 4], kinds[n], {"n": n + step}) for n in range(4)])
        studio.fold()
    stepped = studio.found()
    changes, counts = (
        studio.changes(stepped),
        (stepped.document_count, stepped.change_count, stepped.failure_count),
    )
    whole = studio.fold(force=True)
    assert studio.changes(whole) == changes
    assert (whole.document_count, whole.change_count, whole.failure_count) == counts


def test_a_state_with_a_set_is_not_folded_from_the_start_after_an_append(studio: Studio):
    studio.file("p.py", "def apply(state, event): state.setdefault('s', set()).add(event.offset)\n")
    studio.events(("a", "T", {}), ("b", "T", {}))
    studio.fold()
    studio.events(("b", "T", {}))
    offsets = []
    fold.fold_projection(
        studio.workspace,
        studio.refer(),
        callbacks=FoldCallbacks(lambda p: offsets.append(p.folded)),
    )
    with studio.workspace.writing() as connection:
        connection.execute('DELETE FROM history WHERE "offset" = 0')
    studio.events(("b", "T", {}))
    changes = studio.changes(studio.fold())
    assert [c[:2] for c in changes] == [(1, "b"), (2, "b"), (3, "b")]
    assert changes[-1][2] == {"s": [1, 2, 3]}


def test_a_small_fold_opens_the_file_for_writing_only_to_start_and_to_end(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
):
    studio.file("p.py", "def apply(state, event): state['n'] = event.data['n']\n")
    workspace = studio.events(*[("a", "T", {"n": n}) for n in range(20)])
    writes = []
    writing = WorkspaceFile.writing

    def counted(self: WorkspaceFile, **options: Any) -> Any:
        writes.append(self)
        return writing(self, **options)

    monkeypatch.setattr(WorkspaceFile, "writing", counted)
    monkeypatch.setattr(fold, "_FIRST_FLUSH_SECONDS", 600)  # a busy machine would write in between
    folded = studio.fold()
    assert writes == [workspace] * 2
    assert folded.round_trips_json
    assert len(studio.changes(folded)) == 20


def test_a_finished_fold_is_returned_without_starting_a_worker(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
):
    studio.events(("a", "T", {}))
    studio.file("p.py", SEEN)
    first = studio.fold()
    monkeypatch.setattr("replay.fold.WorkerGroup", None)
    assert studio.fold() == first


def test_changed_code_is_folded_again_and_earlier_code_keeps_its_history(studio: Studio):
    studio.events(("a", "T", {}))
    studio.file("p.py", "def apply(state, event): state['v'] = 1\n")
    one = studio.fold()
    studio.file("p.py", "def apply(state, event): state['v'] = 2\n")
    two = studio.fold()
    assert (one.name, two.name) == ("p", "p")
    assert one.code_hash != two.code_hash
    assert studio.changes(two) == [(0, "a", {"v": 2})]
    studio.file("p.py", "def apply(state, event): state['v'] = 1\n")
    again = studio.fold()
    assert (again.projection_number, studio.changes(again)) == (
        one.projection_number,
        [(0, "a", {"v": 1})],
    )


def test_a_helper_beside_the_projection_is_part_of_its_code(studio: Studio):
    studio.events(("a", "T", {}))
    studio.file("helper.py", "V = 1\n")
    studio.file("p.py", "import helper\ndef apply(state, event): state['v'] = helper.V\n")
    studio.fold()
    studio.file("helper.py", "V = 2\n")
    assert studio.changes(studio.fold()) == [(0, "a", {"v": 2})]


def test_returning_to_code_with_sets_in_states_resumes_correctly(studio: Studio):
    sets = "def initial(key): return set()\ndef apply(state, event): state.add(event.offset)\n"
    studio.events(("a", "T", {}))
    for source in (sets, "def apply(state, event): state['v'] = 1\n", sets):
        studio.file("p.py", source)
        studio.fold()
    assert studio.found().round_trips_json is False
    studio.events(("a", "T", {}))
    assert studio.changes(studio.fold())[-1] == (1, "a", [0, 1])


def test_a_missing_interpreter_is_named(studio: Studio):
    studio.events(("a", "T", {}))
    studio.file("p.py", SEEN)
    with pytest.raises(ProjectionError, match="/no/python can't be started"):
        fold.fold_projection(studio.workspace, studio.refer("p.py", "/no/python"))
