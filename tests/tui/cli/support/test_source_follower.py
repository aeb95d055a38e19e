"""Following a source in a child process, as the screen does."""

import json

from tui.cli.support.source_follower import follow_in_process


def test_the_child_process_does_not_import_from_the_current_folder(tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"id": "e1", "type": "T", "stream": "s", "data": {}}) + "\n")
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "__init__.py").write_text(
        "import pathlib; pathlib.Path('imported').touch()"
    )
    monkeypatch.chdir(tmp_path)
    with follow_in_process(str(log), tmp_path / "log.refold") as messages:
        first_message = next(messages, "")
    assert first_message.startswith("Following"), first_message
    assert not (tmp_path / "imported").exists()
