"""A fold in its own process."""

import json
import sys
import threading
from pathlib import Path

from replay.projection import projection_reference
from storage.ingest import loader
from storage.workspace.workspace_file import WorkspaceFile
from tui.folding.fold_process import FoldMessage, FoldProcess


def _fold(folder: Path, source: str) -> FoldMessage:
    """Fold one event through a projection in a process, and return its last message."""
    log = folder / "log.jsonl"
    log.write_text(json.dumps({"id": "e1", "type": "T", "stream": "s", "data": {}}) + "\n")
    loader.load_source([str(log)], folder / "log.refold")
    code = folder / "p.py"
    code.write_text(source)
    messages: list[FoldMessage] = []
    ended = threading.Event()

    def receive(message: FoldMessage) -> None:
        messages.append(message)
        if message.has_ended:
            ended.set()

    reference = projection_reference.parse_reference(str(code), sys.executable, folder)
    fold = FoldProcess(WorkspaceFile(folder / "log.refold"), reference, receive, force=False)
    try:
        assert ended.wait(60), "the fold does not end"
    finally:
        fold.close()
    return messages[-1]


def test_a_fold_that_warns_much_ends(tmp_path, monkeypatch):
    """Its process would wait if nobody read its standard error while it runs."""
    # Python then reports each import on standard error: more than the 64 KiB that a pipe holds.
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    last = _fold(tmp_path, "def apply(state, event):\n    state['n'] = 1\n")
    assert (last.error, last.folded) == (None, 1)


def test_the_error_of_a_fold_is_its_last_line(tmp_path):
    assert "absent_module" in str(_fold(tmp_path, "import absent_module\n").error)
