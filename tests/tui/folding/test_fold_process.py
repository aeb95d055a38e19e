"""A fold in its own process."""

import json
import sys
import threading

from replay.projection import projection_reference
from storage.ingest import loader
from storage.workspace.workspace_file import WorkspaceFile
from tui.folding.fold_process import FoldMessage, FoldProcess


def test_a_fold_that_warns_much_ends(tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"id": "e1", "type": "T", "stream": "s", "data": {}}) + "\n")
    loader.load_source([str(log)], tmp_path / "log.refold")
    code = tmp_path / "p.py"
    code.write_text("def apply(state, event):\n    state['n'] = 1\n")
    # Python then reports each import on standard error: more than the 64 KiB that a pipe holds.
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    messages: list[FoldMessage] = []
    ended = threading.Event()

    def receive(message: FoldMessage) -> None:
        messages.append(message)
        if message.has_ended:
            ended.set()

    reference = projection_reference.parse_reference(str(code), sys.executable, tmp_path)
    fold = FoldProcess(WorkspaceFile(tmp_path / "log.refold"), reference, receive, force=False)
    try:
        assert ended.wait(60), "the process waits for a reader of its standard error"
    finally:
        fold.close()
    assert (messages[-1].error, messages[-1].folded) == (None, 1)


def test_the_error_of_a_fold_is_its_last_line(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"id": "e1", "type": "T", "stream": "s", "data": {}}) + "\n")
    loader.load_source([str(log)], tmp_path / "log.refold")
    code = tmp_path / "p.py"
    code.write_text("import absent_module\n")
    messages: list[FoldMessage] = []
    ended = threading.Event()

    def receive(message: FoldMessage) -> None:
        messages.append(message)
        if message.has_ended:
            ended.set()

    reference = projection_reference.parse_reference(str(code), sys.executable, tmp_path)
    fold = FoldProcess(WorkspaceFile(tmp_path / "log.refold"), reference, receive, force=False)
    try:
        assert ended.wait(60)
    finally:
        fold.close()
    assert "absent_module" in str(messages[-1].error)
