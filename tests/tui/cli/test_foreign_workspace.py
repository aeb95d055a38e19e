"""A workspace from elsewhere: refold reads its named files only after consent, and never blocks."""

import json
import os
import shutil
from pathlib import Path

import duckdb
import pytest

from storage.workspace import validation_cache
from tests.storage.workspace.test_cell_rules import change, run

PROJECTION = """
def apply(state, event):
    state["n"] = state.get("n", 0) + 1
"""
WRITE = "INSERT INTO watches VALUES (1, 'events', 'true', now())"
LOOKING = (
    "events {ws} --json",
    "state {ws} -p p --json",
    "diff {ws} -p p --from 0 --to 2 --json",
    "failures {ws} -p p --json",
    "blame {ws} -p p --key s n",
    "timelines {ws} --json",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A log, a projection, and a workspace of both that this user made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(validation_cache, "_by_path", {})
    lines = [
        json.dumps({"id": f"e{n}", "stream": "s", "type": "T", "data": {"n": n}}) for n in range(3)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "p.py").write_text(PROJECTION)
    assert run("load log.jsonl", Path("log.refold"))[0] == 0
    assert run("replay log.refold -p p.py", Path("log.refold"))[0] == 0
    return tmp_path


def elsewhere(folder: Path, *statements: str) -> Path:
    """A copy of the workspace that another user changed."""
    ws = Path(shutil.copy(folder / "log.refold", folder / "sent.refold"))
    change(ws, *statements)
    return ws


def hostile(folder: Path) -> dict[str, str]:
    os.mkfifo(folder / "pipe")
    (folder / "circle").symlink_to("circle")
    names = [
        "/dev/zero",
        str(folder / "pipe"),
        str(folder),
        "/proc/self/mem",
        str(folder / "circle"),
    ]
    names += ["\\u0000", "x" * 5000]
    return {name: json.dumps({name: "0" * 64}) for name in names}


def test_opening_a_workspace_does_not_wait_for_the_paths_that_it_names(folder):
    for number, (name, files) in enumerate(hostile(folder).items()):
        ws = elsewhere(
            folder,
            f"UPDATE projections SET files = '{files}'",
            f"UPDATE sources SET path = '{name}', size = 5",
        )
        for agreed in (False, True):
            if agreed:
                assert run("trust {ws}", ws)[0] == 0
            for command in LOOKING:
                code, _, err = run(command, ws)
                assert code in (0, 1), (name, command, err)
        # The user names the code, and it is folded; what the workspace says of files helps nothing.
        code, out, err = run("replay {ws} -p p.py --json", ws)
        assert (code, json.loads(out)["events"]) == (0, 3), (number, name, err)


def test_files_of_a_workspace_from_elsewhere_are_read_only_after_consent(folder):
    (folder / "p.py").write_text(PROJECTION + "#")
    with (folder / "log.jsonl").open("a") as stream:
        stream.write(json.dumps({"id": "x", "stream": "s", "type": "T", "data": {}}) + "\n")
    grown, changed = "has grown since it was loaded", "The code of p@"
    for ws in (folder / "log.refold", elsewhere(folder, WRITE)):
        own = ws.name == "log.refold"
        _, _, err = run("state {ws} -p p --json", ws)
        assert (grown in err, f"{changed}" in err and "has changed since" in err) == (own, own)
        assert ("came from elsewhere" in err) == (not own)
    code, out, _ = run("trust {ws} --list --json", ws)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(row["name"], row["files"], row["agreed"]) for row in rows] == [
        ("source", [str(folder / "log.jsonl")], False),
        ("code", [str(folder / "p.py")], False),
    ]
    assert run("trust {ws}", ws)[1] == (
        f"reads the source {folder / 'log.jsonl'}\nreads the code {folder / 'p.py'}\n"
    )
    _, _, err = run("state {ws} -p p --json", ws)
    assert grown in err
    assert "has changed since" in err
    assert run("trust {ws} --revoke", ws)[0] == 0
    _, _, err = run("state {ws} -p p --json", ws)
    assert grown not in err
    # Consent is to the file as it is: what somebody else writes into it is from elsewhere again.
    assert run("trust {ws}", ws)[0] == 0
    change(ws, WRITE)
    _, _, err = run("state {ws} -p p --json", ws)
    assert grown not in err


def test_a_workspace_stays_the_users_own_when_refold_writes_it(folder):
    ws = folder / "log.refold"
    for command in (
        "fork {ws} f --drop 1",
        "replay {ws} -p p.py --timeline f",
        "remove {ws} --id e1",
    ):
        run(command, ws)
        assert validation_cache.is_own(ws), command


def test_a_writer_that_is_killed_leaves_the_workspace_the_users_own(folder):
    ws = folder / "log.refold"
    validation_cache.remember_writing(ws, ws)
    with duckdb.connect(str(ws)) as connection:  # as refold would, before it is killed
        connection.execute(WRITE)
    assert not validation_cache.is_validated(ws)
    assert validation_cache.is_own(ws)
    assert run("state {ws} -p p --json", ws)[0] == 0
    assert validation_cache.is_validated(ws)
    assert validation_cache.is_own(ws)


def test_a_schema_that_a_workspace_names_is_not_read(folder):
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "int"}]}
    (folder / "s.avsc").write_text(json.dumps(schema))
    (folder / "packed.jsonl").write_text(
        '{"id": "a", "type": "T", "stream": "s", "data": "Ag=="}\n'
    )
    how = "data=avro:s.avsc"
    load = f"load packed.jsonl -o packed.refold --map data=data --decode {how}"
    assert run(load, Path("packed.refold"))[0] == 0
    with (folder / "packed.jsonl").open("a") as stream:
        stream.write('{"id": "b", "type": "T", "stream": "s", "data": "BA=="}\n')
    os.mkfifo(folder / "pipe")
    ws = Path("packed.refold")
    change(
        ws, "UPDATE workspace SET value = replace(value, 's.avsc', 'pipe') WHERE name = 'mapping'"
    )
    code, _, err = run("load packed.jsonl -o packed.refold", ws)
    assert code == 2
    assert "decodes data with the file pipe" in err
    assert run("trust {ws}", ws)[0] == 0
    code, _, err = run("load packed.jsonl -o packed.refold", ws)
    assert code == 2
    assert "pipe is not a regular file" in err
    change(
        ws, "UPDATE workspace SET value = replace(value, 'pipe', 's.avsc') WHERE name = 'mapping'"
    )
    assert run("load packed.jsonl -o packed.refold", ws)[0] == 2
    assert run(f"load packed.jsonl -o packed.refold --decode {how}", ws)[0] == 0


@pytest.mark.parametrize("command", ["events {ws} --json", "sql {ws} 'FROM events' --json"])
def test_json_output_has_no_character_that_acts_on_a_terminal(folder, command):
    in_json = "\x9b2J\u202e\x7f"
    bad = f"\x1b]0;x\x07{in_json}"
    ws = elsewhere(
        folder,
        f"UPDATE events SET data = '{{\"{in_json}\":\n1}}', type = '{bad}', meta = '\"{in_json}\"'",
    )
    code, out, _ = run(command, ws)
    assert code == 0
    assert not set(bad) & set(out) - {"0", ";", "x", "2", "J", "]"}
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["type"] for row in rows] == [bad] * 3
