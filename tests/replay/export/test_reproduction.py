"""Reproductions: folders that show a finding to a person without refold."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replay import fold
from replay.export import reproduction
from replay.export.reproduction import Reproduction, parse_expectation
from replay.history.history import History
from replay.projection import projection_reference
from sample_logs import SAMPLES
from storage.db.query import fetch_arrow
from storage.errors import PositionError, QueryError
from storage.ingest import loader
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.projection_studio import Studio


def verdicts(*folders: Path, projection: Path | None = None) -> dict[str, bool]:
    """Run the tests in these folders without refold; return for each test whether it passed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHON"))}
    if projection is not None:
        environment["REFOLD_PROJECTION"] = str(projection)
    run = [sys.executable, "-P", "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*run, f"--rootdir={folders[0]}", *map(str, folders)],
        cwd=folders[0],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    said = re.findall(r"^(PASSED|FAILED) \S*?(\w+)\.py::", done.stdout, re.MULTILINE)
    assert said, done.stdout + done.stderr
    return {name: how == "PASSED" for how, name in said}


def exported(history: History, offset: int, key: str | None = None, **wishes: Any) -> Reproduction:
    wanted = [parse_expectation(text) for text in wishes.pop("expected", ())]
    cwd = str(history.workspace.path.parent)
    return reproduction.write_reproduction(history, offset, key, cwd=cwd, expected=wanted, **wishes)


def documented(name: str) -> dict[tuple[int, str], list[tuple[str, str]]]:
    """Return the faults in the sample's README: offset and key to fields with their right values."""
    text = (SAMPLES[name].log.parent / "README.md").read_text()
    text = text.partition("## Where the log itself is wrong")[0]
    rows = re.findall(r"^\| (\d+) \| (\S+) \| (\S+) \| `(.*?)` \| `", text, re.MULTILINE)
    places: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for offset, key, field, value in rows:
        places.setdefault((int(offset), key), []).append((field, value))
    return places


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_the_faults_of_a_sample_fail_before_the_fix_and_pass_after_it(name, tmp_path: Path):
    sample = SAMPLES[name]
    loader.load_source([str(sample.log)], tmp_path / f"{name}.refold")
    workspace = WorkspaceFile(tmp_path / f"{name}.refold")
    wrong = projection_reference.parse_reference(
        str(sample.wrong_projection), sys.executable, tmp_path
    )
    history = History(workspace, fold.fold_projection(workspace, wrong))
    made = []
    for (offset, key), fields in documented(name).items():
        expected = [f"{field}={value}" for field, value in fields]
        made.append(exported(history, offset, key, expected=expected))
    assert len(made) == 2
    folders = [m.folder for m in made]
    assert [m.folder.parent for m in made] == [tmp_path, tmp_path]
    assert not any(m.already_met for m in made)
    assert set(verdicts(*folders).values()) == {False}
    assert set(verdicts(*folders, projection=sample.projection).values()) == {True}


SMALL = {
    "a handler that raises": (
        "def on_A(state, event): state['n'] = event.data['n'] + 1\n",
        "def on_A(state, event): state['n'] = (event.data['n'] or 0) + 1\n",
        {"offset": 5},
    ),
    "an invariant": (
        "INVARIANTS = {'small': lambda s: s['n'] < 1}\n"
        "def on_A(state, event): state['n'] = event.data['n'] or 0\n",
        "INVARIANTS = {'small': lambda s: s['n'] < 1}\n"
        "def on_A(state, event): state['n'] = min(event.data['n'] or 0, 0)\n",
        {"offset": 3},
    ),
    "asking for the key": (
        "def key(event): return 'k' + event.data['k']\ndef apply(state, event): pass\n",
        "def key(event): return 'k' + str(event.data['k'])\ndef apply(state, event): pass\n",
        {"offset": 4},
    ),
    "decimals and digits": (
        "DECIMALS = True\n"
        "def on_B(state, event): state['sum'] = state.get('sum', 0) + float(event.data['x'])\n",
        "DECIMALS = True\n"
        "def on_B(state, event): state['sum'] = state.get('sum', 0) + event.data['x']\n",
        {"offset": 6, "expected": ["sum=0.30000000000000000001"]},
    ),
    "keys, and what a document begins with": (
        "def key(event): return [event.stream, event.data.get('k')]\n"
        "def initial(key): return {'key': key, 'by': []}\n"
        "def apply(state, event, key): state['by'].append(event.offset)\n",
        "def key(event): return [event.stream, event.data.get('k')]\n"
        "def initial(key): return {'key': key, 'by': []}\n"
        "def apply(state, event, *, key): state['by'].append([event.offset, key])\n",
        {"offset": 4, "key": "7", "expected": ['$={"by": [[4, "7"]], "key": "7"}']},
    ),
    "a key that forgot the event": (
        "def key(event): return None if event.type == 'B' else event.stream\n"
        "def apply(state, event): state['last'] = event.type\n",
        "def key(event): return event.stream\n"
        "def apply(state, event): state['last'] = event.type\n",
        {"offset": 6, "key": "s", "expected": ['last="B"']},
    ),
    "upcast, and a new state": (
        "from types import SimpleNamespace as N\n"
        "def upcast(event):\n"
        "    if event.version == 1: return N(type='Old', stream=event.stream, offset=event.offset)\n"
        "def apply(state, event): return {'type': event.type}\n",
        "def apply(state, event): return {'type': event.type}\n",
        {"offset": 6, "expected": ['type="B"']},
    ),
    "the outside": (
        "def on_B(state, event, gateway): gateway.query('fx', 'rate', {})\n",
        "def on_B(state, event, rates=None): state['rate'] = 1\n",
        {"offset": 6},
    ),
    "a deletion": (
        "def on_A(state, event): state['n'] = 1\ndef on_B(state, event): state.clear()\n",
        "def on_A(state, event): state['n'] = 1\ndef on_B(state, event): return event.DELETED\n",
        {"offset": 6, "expected": ["$="]},
    ),
    "what is no JSON": (
        "from datetime import timedelta\n"
        "def apply(state, event): state['x'] = {(1, 2), (0, 1)}; state['at'] = event.time\n",
        "from datetime import timedelta\n"
        "def apply(state, event):\n"
        "    state['x'] = {(1, 2), (0, 3)}; state['at'] = event.time + timedelta(1)\n",
        {"offset": 0, "expected": ["x=[[0, 3], [1, 2]]", 'at="2026-01-02T00:00:00.000007+00:00"']},
    ),
    "a class": (
        "class Fold:\n    def on_A(self, state, event): state['v'] = [event.revision, event.meta]\n",
        "class Fold:\n    def on_A(self, state, event): state['v'] = [event.id, event.meta]\n",
        {"offset": 3, "expected": ['v=["e3", {"m": 3}]'], "name": "Fold"},
    ),
}


DATA = (
    *('{"k": "0", "n": 0}', '{"k": "1", "n": 0}', '{"k": "2", "n": 1}', '{"k": "3", "n": 1}'),
    *('{"k": 7, "n": 2}', '{"n": null}', '{"x": 0.30000000000000000001}'),
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the reproductions of all small projections, and their verdicts before and after the fix."""
    folder = tmp_path_factory.mktemp("small")
    with (folder / "log.jsonl").open("w") as out:
        for n, data in enumerate(DATA):
            out.write(
                f'{{"id": "e{n}", "stream": "s", "type": "{"B" if n == 6 else "A"}", "version": 1,'
                f' "time": "2026-01-01T00:00:00.00000{7 + n % 2}Z", "data": {data},'
                f' "meta": {{"m": {n}}}}}\n'
            )
    loader.load_source([str(folder / "log.jsonl")], folder / "log.refold")
    workspace = WorkspaceFile(folder / "log.refold")
    made = {}
    for number, (name, (wrong, _, given)) in enumerate(SMALL.items()):
        wish = {**given}
        code = folder / f"p{number}.py"
        code.write_text(wrong)
        attribute = wish.pop("name", "")
        text = f"{code}:{attribute}" if attribute else str(code)
        folded = fold.fold_projection(
            workspace, projection_reference.parse_reference(text, sys.executable, folder)
        )
        offset = wish.pop("offset")
        target = folder / f"r{number}"
        made[name] = exported(History(workspace, folded), offset, folder=target, **wish)
        # Module names must be unique, because all tests run in one process.
        assert made[name].test is not None
        made[name].test.rename(target / f"test_r{number}.py")
    folders = [m.folder for m in made.values()]
    before = verdicts(*folders)
    for number, (_, fixed, _) in enumerate(SMALL.values()):
        (folder / f"p{number}.py").write_text(fixed)
    return made, before, verdicts(*folders)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_finding_fails_before_the_fix_and_passes_after_it(small, name):
    made, before, after = small
    test = f"test_{made[name].folder.name}"
    assert (before[test], after[test]) == (False, True)


def test_the_test_imports_nothing_but_the_standard_library(small):
    made, _, _ = small
    [file] = made["a class"].folder.glob("test_*.py")
    tree = ast.walk(ast.parse(file.read_text()))
    names = {a.name for node in tree if isinstance(node, ast.Import) for a in node.names}
    tree = ast.walk(ast.parse(file.read_text()))
    names |= {str(node.module) for node in tree if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    assert "PROJECTION = " in file.read_text()


COLUMNS = (
    "time, stream, revision, type, version, id, correlation_id, causation_id,"
    " json(data)::VARCHAR AS data, json(meta)::VARCHAR AS meta"
)


def test_the_slice_can_be_loaded_again_and_has_all_digits(studio: Studio):
    event = {"stream": "a", "type": "T", "version": 2, "correlation_id": 'c"1'}
    event |= {"time": "2026-01-01T00:00:01.000001Z", "meta": {"user": "zoë\u202e\n"}}
    studio.events(
        {**event, "id": "x1", "data": {"n": 1}},
        {**event, "id": "x2", "stream": "b", "data": {"n": 2}},
        {**event, "id": "x3", "causation_id": "x1", "data": {"big": 12345678901234567890}},
    )
    with studio.log.open("a") as stream:
        line = json.dumps({**event, "id": "x4", "data": {"n": 0}})
        stream.write(line.replace('"n": 0', '"n": 0.10000000000000000000010') + "\n")
    studio.events({**event, "id": "x5", "data": {"n": 5}})
    studio.file("p.py", "def apply(state, event): state['n'] = event.id\n")
    made = exported(studio.history(), 3, expected=["n=1"])
    assert (made.key, made.events) == ("a", 3)
    lines = (made.folder / "events.jsonl").read_text()
    assert [json.loads(line)["offset"] for line in lines.splitlines()] == [0, 2, 3]
    assert "0.10000000000000000000010" in lines
    loader.load_source([str(made.folder / "events.jsonl")], studio.folder / "again.refold")
    again = WorkspaceFile(studio.folder / "again.refold")
    with studio.workspace.reading() as old, again.reading() as new:
        wanted = fetch_arrow(
            old, f'SELECT {COLUMNS} FROM events WHERE "offset" IN (0, 2, 3) ORDER BY "offset"'
        )
        assert fetch_arrow(new, f'SELECT {COLUMNS} FROM events ORDER BY "offset"').equals(wanted)


def test_the_page_names_the_finding_the_commands_and_the_code(studio: Studio):
    studio.events(("o'neil\x1b[31m\n", "T", {"n": 1}))
    studio.file("p.py", "def apply(state, event): state['n'] = 1\n")
    history = studio.history()
    made = exported(history, 0, expected=["n=2"])
    page = (made.folder / "README.md").read_text()
    assert made.folder.name == "o_neil__31m_@0"
    assert history.fold_record.label in page
    assert history.fold_record.code_hash in page
    assert "n = 2 (it was 1)" in page
    assert f"refold open {studio.path} -p {studio.folder}/p.py --at 0" in page
    assert "--key $'o\\'neil\\u001b[31m\\n'" in page
    assert "\x1b" not in page


def test_nothing_is_written_without_a_finding(studio: Studio):
    studio.events(("../../a", "T", {"n": 1}), ("b", "T", {"n": 1}))
    studio.file("p.py", "def apply(state, event): state['n'] = 1\n")
    history = studio.history()
    before = sorted(studio.folder.iterdir())
    for wrong, place in (
        (PositionError, (-1,)),
        (QueryError, (0,)),
        (QueryError, (0, "nobody")),
        (QueryError, (0, "b")),
        (QueryError, (9,)),
    ):
        with pytest.raises(wrong) as caught:
            exported(history, *place)
        assert "\n" not in caught.value.message
    assert sorted(studio.folder.iterdir()) == before
    made = exported(history, 0, without_test=True)
    assert made.test is None
    assert made.folder.parent == studio.folder
    assert {p.name for p in made.folder.iterdir()} == {"README.md", "events.jsonl"}


def test_a_folder_that_is_not_empty_is_left_alone(studio: Studio):
    studio.events(("a", "T", {"n": 1}))
    studio.file("p.py", "def apply(state, event): state['n'] = 1\n")
    history = studio.history()
    made = exported(history, 0, expected=["n=2"])
    (made.folder / "README.md").write_text("mine")
    (made.folder / "notes.txt").write_text("mine")
    with pytest.raises(QueryError, match="isn't empty"):
        exported(history, 0, expected=["n=2"])
    assert (made.folder / "README.md").read_text() == "mine"
    exported(history, 0, expected=["n=2"], replace=True)
    assert (made.folder / "README.md").read_text() != "mine"
    assert (made.folder / "notes.txt").read_text() == "mine"


def test_expectations_that_are_met_already_are_reported(studio: Studio):
    studio.events(("a", "T", {"n": 1}))
    studio.file("p.py", "def apply(state, event): state['n'] = 1.50\n")
    made = exported(studio.history(), 0, expected=["n=1.5", "m=2"])
    assert made.already_met == ["n = 1.5"]


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a.b=1", ("a", "b"), "1"),
        ('$."a=1".b="x=y"', ("a=1", "b"), '"x=y"'),
        ("lines[0]= null", ("lines", 0), "null"),
        ("a=", ("a",), ""),
    ],
)
def test_an_expectation_is_a_path_and_json(text, path, value):
    assert (parse_expectation(text).path, parse_expectation(text).expected_json) == (path, value)


@pytest.mark.parametrize("text", ["a", "a=b", "a..b=1", "=", "a={"])
def test_an_invalid_expectation_is_refused(text):
    with pytest.raises(QueryError):
        parse_expectation(text)
