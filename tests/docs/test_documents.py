"""What the documents say is run: the README's tour, and the tables and queries of the workspace."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from replay import fold
from replay.projection import projection_reference
from storage.ingest import loader
from storage.workspace import macros, schema
from storage.workspace.workspace_file import WorkspaceFile
from tui.cli import run_command

ROOT = Path(__file__).parents[2]


def test_the_readmes_tour_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    shutil.copytree(ROOT / "sample_logs", tmp_path / "sample_logs")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^\$ refold (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) >= 6
    said = ""
    for command in commands:
        assert run_command(shlex.split(command)) == 0, command
        said += capsys.readouterr().out
    assert "29.01" in said
    assert "15.14" in said


@pytest.mark.slow
def test_the_bugs_of_all_samples_are_found_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    """Every command is run, and what the document shows under it is all that it prints."""
    shutil.copytree(ROOT / "sample_logs", tmp_path / "sample_logs")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "docs/finding.md").read_text(), re.DOTALL)
    shown = 0
    for block in blocks:
        for command in re.split(r"^\$ refold ", block, flags=re.MULTILINE)[1:]:
            line, *wanted = command.rstrip().splitlines()
            arguments = shlex.split(line)
            assert run_command(arguments) == int(arguments[0] == "check"), line
            printed = [told.rstrip() for told in capsys.readouterr().out.splitlines()]
            if wanted:
                assert printed == wanted, line
                shown += 1
    assert shown > 10


@pytest.mark.slow
def test_queries_give_what_is_written_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    """The SQL and the Polars projection are one, with and without what they declare."""
    text = (ROOT / "docs/queries.md").read_text()
    (sql,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    (frame,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (commands,) = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    shutil.copytree(ROOT / "sample_logs", tmp_path / "sample_logs")
    monkeypatch.chdir(tmp_path)
    log, said = "sample_logs/orders/orders.jsonl", {}
    files = {"whole.sql": sql, "whole.py": frame, "carts.sql": sql.replace("-- refold: own", "--")}
    for name, source in files.items():
        Path(name).write_text(source)
        assert run_command(["state", log, "-p", name, "--at", "1200", "--json"]) == 0
        rows = map(json.loads, capsys.readouterr().out.splitlines())
        said[name] = {row["key"]: row["state"] for row in rows}
    assert said["whole.sql"] == said["whole.py"] == said["carts.sql"]
    assert len(said["whole.sql"]) > 100
    for name in ("whole.sql", "whole.py"):
        assert run_command(["check", log, "-p", name]) == 0
        assert "holds in every state up to offset 2,999" in capsys.readouterr().err
    for line in re.findall(r"^\$ refold (.*)$", commands, re.MULTILINE):
        assert run_command([*shlex.split(line), "--json"]) in (0, 1), line
        assert capsys.readouterr().out.strip(), line


def test_the_readmes_commands_are_the_makefiles():
    text = (ROOT / "README.md").read_text()
    rules = (ROOT / "Makefile").read_text()
    for name in re.findall(r"make (\w+)", text):
        assert f"\n{name}:" in rules


def _documented() -> dict[str, list[tuple[str, str]]]:
    text = (ROOT / "docs" / "workspace.md").read_text()
    tables = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name, _, body = section.partition("\n")
        rows = re.findall(r"^\| (\w+) \| ([A-Z\[\] ]+) \|", body, re.MULTILINE)
        if name.islower():  # the others are about all of them
            tables[name.strip()] = rows
    return tables


def test_the_tables_are_documented_column_for_column():
    assert _documented() == {table.name: list(table.columns) for table in schema.TABLES}


def test_the_macros_are_documented():
    text = (ROOT / "docs" / "workspace.md").read_text()
    rows = re.findall(r"^\| `(\w+)\(([\w, ]*)\)` \| (?:`([\w ]*)`)? ?\| \w", text, re.MULTILINE)
    documented = {name: (asked, gives) for name, asked, gives in rows}
    assert documented == {
        macro.name: (", ".join(macro.parameters), " ".join(macro.columns))
        for macro in macros.MACROS
    }


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    path = tmp_path_factory.mktemp("docs") / "orders.refold"
    loader.load_source([str(ROOT / "sample_logs/orders/orders.jsonl")], path)
    workspace = WorkspaceFile(path)
    import sys

    wanted = projection_reference.parse_reference(
        "sample_logs/orders/orders.py", sys.executable, ROOT
    )
    fold.fold_projection(workspace, wanted)
    return workspace


def test_the_documented_queries_answer(folded):
    queries = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/workspace.md").read_text(), re.DOTALL)
    assert queries
    for query in queries:
        with folded.reading() as connection:
            assert connection.execute(query).fetchall(), query


def test_another_client_can_do_what_is_said_of_it(folded, monkeypatch: pytest.MonkeyPatch, capsys):
    folded.release()
    monkeypatch.chdir(folded.path.parent)
    scripts = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/workspace.md").read_text(), re.DOTALL
    )
    assert len(scripts) == 2
    for script in scripts:
        exec(script, {})
        said = capsys.readouterr().out
        assert "OrderPlaced" in said or "shipped" in said


def test_the_gateways_examples_give_what_is_written_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    """The journal answers the handler; the tables of the configuration are understood."""
    text = (ROOT / "docs/gateway.md").read_text()
    [handler] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [journal] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    Path("refold.toml").write_text("\n".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)))
    Path("p.py").write_text(handler)
    Path("calls.jsonl").write_text(journal)
    events = [
        {"id": "ev-1", "time": "2026-01-01T10:00:00Z", "data": ["EURUSD", 100, "ann@example.org"]},
        {"id": "ev-2", "time": "2026-01-01T10:05:00Z", "data": ["EURGBP", 200, "bob@example.org"]},
    ]
    for event in events:
        event["data"] = dict(zip(("pair", "amount", "to"), event["data"], strict=True))
        event |= {"stream": "till-1", "type": "PaymentCaptured"}
    Path("log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert run_command(["load", "log.jsonl"]) == 0
    assert run_command(["calls-import", "log.refold", "calls.jsonl", "--json"]) == 0
    assert '"assigned": 5' in capsys.readouterr().out
    assert run_command(["state", "log.refold", "-p", "p.py", "--json"]) == 0
    [row] = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["offset"], row["state"]["total"]) == (0, 108.0)
    assert run_command(["failures", "log.refold", "-p", "p.py", "--json"]) == 0
    assert "mailbox full" in capsys.readouterr().out
    assert run_command(["calls", "log.refold", "-p", "p.py", "--json"]) == 0
    decisions = [json.loads(line)["decision"] for line in capsys.readouterr().out.splitlines()]
    assert decisions == ["recorded", "suppressed"] * 2
    assert run_command(["replay", "log.refold", "-p", "p.py", "--mode", "what-if"]) == 0


@pytest.mark.slow
def test_what_is_said_of_forks_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Every command is run, and what the document shows under it is all that it prints."""
    shutil.copytree(ROOT / "sample_logs", tmp_path / "sample_logs")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "docs/forks.md").read_text(), re.DOTALL)
    commands = [c for b in blocks for c in re.split(r"^\$ refold ", b, flags=re.MULTILINE)[1:]]
    assert len(commands) > 15
    for command in commands:
        line, *wanted = command.rstrip().splitlines()
        assert run_command(shlex.split(line)) == 0, line
        printed = [told.rstrip() for told in capsys.readouterr().out.splitlines()]
        assert printed == wanted or not wanted, line


def test_what_is_said_of_sources_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    text = (ROOT / "docs/sources.md").read_text()
    monkeypatch.chdir(tmp_path)
    samples = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    for name, sample in zip(("changes.jsonl", "gaps.jsonl"), samples, strict=True):
        Path(name).write_text(sample)
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    loaded = []
    for command in [c for b in blocks for c in re.split(r"^\$ refold ", b, flags=re.MULTILINE)[1:]]:
        line, *wanted = command.rstrip().splitlines()
        assert run_command(shlex.split(line)) == 0, line
        printed = capsys.readouterr().out.splitlines()
        loaded += [json.loads(printed[0])["format"]] if line.startswith("load") else []
        assert [told.rstrip() for told in printed] == wanted or not wanted, line
    assert f"`{loaded[0]}`" in text
