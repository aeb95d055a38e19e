"""A projection's hash belongs to the code that was imported, even if the file is saved meanwhile."""

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


def test_code_saved_while_it_is_imported_is_folded_in_its_new_version(studio: Any) -> None:
    """The module writes its next version to its own file when it is first imported."""
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
def test_the_hash_belongs_to_the_bytes_that_were_compiled(
    studio: Any, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is saved after the worker reports its import and before the parent compares."""
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


def test_a_pyc_of_the_same_second_and_size_is_not_used(
    studio: Any,
) -> None:
    """The .pyc belongs to the previous content but has the size and second of the current one."""
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


def test_a_pyc_that_certainly_matches_its_source_is_used(studio: Any) -> None:
    studio.events(("a", "T", {}))
    helper = studio.folder / "helper.py"
    helper.write_text("VALUE = 1\n")
    os.utime(helper, (1_700_000_000, 1_700_000_000))
    py_compile.compile(str(helper), doraise=True)
    (studio.folder / "p.py").write_text(SAVED_WHILE_IMPORTED.format(value=1))
    folded = fold.fold_projection(studio.workspace, studio.refer("p.py"))
    assert states(studio, folded)[0]["helper"] == 1
    assert folded.files[str(helper)] == hashlib.sha256(b"VALUE = 1\n").hexdigest()
