"""A projection is what was imported, also when its file is saved in the middle of that."""

import hashlib
import os
import py_compile
from pathlib import Path
from typing import Any

import pytest

from replay import fold
from replay.history.history import History

SAVED_WHILE_IMPORTED = """
from pathlib import Path
import helper
VALUE = {value}
def apply(state, event):
    state["value"] = VALUE
    state["helper"] = helper.VALUE
"""


def states(studio: Any, folded: Any) -> list[Any]:
    return [state for _, _, state in studio.changes(folded)]


def test_code_that_is_saved_while_it_is_imported_is_folded_as_it_is_now(studio: Any) -> None:
    """The module writes its own next version when it is imported for the first time."""
    studio.events(("a", "T", {}))
    path = studio.folder / "p.py"
    text = (
        "from pathlib import Path\nVALUE = 'old'\ndef apply(state, event): state['value'] = VALUE\n"
    )
    path.write_text(text)
    folded = fold.fold_projection(studio.workspace, studio.refer("p.py"))
    assert states(studio, folded) == [{"value": "old"}]
    assert folded.files[str(path)] == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(text.replace("old", "new"))
    again = fold.fold_projection(studio.workspace, studio.refer("p.py"))
    assert states(studio, again) == [{"value": "new"}]


@pytest.mark.parametrize("module", ["p.py", "helper.py"])
def test_the_hash_is_that_of_the_bytes_that_were_compiled(
    studio: Any, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker says what it has imported; the file is saved right after, before the parent looks."""
    studio.events(("a", "T", {}))
    (studio.folder / "helper.py").write_text("VALUE = 1\n")
    (studio.folder / "p.py").write_text(SAVED_WHILE_IMPORTED.format(value=1))
    path = studio.folder / module
    old = path.read_text()
    from replay.projection import projection_reference
    from replay.worker_host import worker_group

    real = projection_reference.are_files_unchanged
    saved: list[bool] = []

    def save_first(files: Any) -> bool:
        if not saved:
            saved.append(True)
            assert files[str(path)] == hashlib.sha256(old.encode()).hexdigest()
            path.write_text(old.replace("VALUE = 1", "VALUE = 2"))
        return real(files)

    monkeypatch.setattr(worker_group.references, "are_files_unchanged", save_first)
    folded = fold.fold_projection(studio.workspace, studio.refer("p.py"))
    assert saved
    name = "value" if module == "p.py" else "helper"
    assert states(studio, folded)[0][name] == 2
    assert History(studio.workspace, folded).fold_record.is_code_unchanged


def test_a_cached_file_of_the_same_second_and_size_is_not_taken_for_the_source(
    studio: Any,
) -> None:
    """What `py_compile` has left is of the content before, and looks like that of the one now."""
    studio.events(("a", "T", {}))
    helper = studio.folder / "helper.py"
    helper.write_text("VALUE = 1\n")
    os.utime(helper, (1_700_000_000, 1_700_000_000))
    cached = Path(py_compile.compile(str(helper), doraise=True))
    os.utime(cached, (1_700_000_000.5, 1_700_000_000.5))
    helper.write_text("VALUE = 2\n")
    os.utime(helper, (1_700_000_000, 1_700_000_000))
    (studio.folder / "p.py").write_text(SAVED_WHILE_IMPORTED.format(value=1))
    folded = fold.fold_projection(studio.workspace, studio.refer("p.py"))
    assert states(studio, folded)[0]["helper"] == 2
    assert folded.files[str(helper)] == hashlib.sha256(b"VALUE = 2\n").hexdigest()


def test_a_cached_file_that_is_surely_of_its_source_is_used(studio: Any) -> None:
    studio.events(("a", "T", {}))
    helper = studio.folder / "helper.py"
    helper.write_text("VALUE = 1\n")
    os.utime(helper, (1_700_000_000, 1_700_000_000))
    py_compile.compile(str(helper), doraise=True)
    (studio.folder / "p.py").write_text(SAVED_WHILE_IMPORTED.format(value=1))
    folded = fold.fold_projection(studio.workspace, studio.refer("p.py"))
    assert states(studio, folded)[0]["helper"] == 1
    assert folded.files[str(helper)] == hashlib.sha256(b"VALUE = 1\n").hexdigest()
