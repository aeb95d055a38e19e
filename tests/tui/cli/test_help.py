"""The help of the command line: groups, summaries of one line, and examples that work."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tui import cli
from tui.cli.command_table import COMMANDS, GROUPS, SUMMARY_LENGTH

ROOT = Path(__file__).parents[3]
EXAMPLE_FOLDER = ROOT / "sample_logs/orders"


def command(name: str) -> click.Command:
    found = cli.cli.get_command(click.Context(cli.cli), name)
    assert found is not None
    return found


def help_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.run_command([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def examples_in(text: str) -> list[str]:
    """The command lines under `Example` at the end of a help text."""
    _, _, example = text.partition("Example, in sample_logs/orders:\n")
    return example.replace("\\\n", "").strip().splitlines()


def test_help_lists_all_commands_in_groups(capsys):
    text = help_of(capsys=capsys)
    assert list(GROUPS) == ["Look", "Find", "What if", "Outside", "Log", "Share"]
    for title, commands in GROUPS.items():
        _, _, section = text.partition(f"\n{title}:\n")
        lines = section.partition("\n\n")[0].splitlines()
        assert [line.split()[0] for line in lines] == list(commands)


def test_each_line_of_the_list_fits_in_80_columns_and_is_not_cut(capsys):
    text = help_of(capsys=capsys)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "..." not in text.partition("\nLook:\n")[2]
    for entry in COMMANDS.values():
        assert f"  {entry.summary}\n" in text
        assert len(entry.summary) <= SUMMARY_LENGTH


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_the_short_help_of_its_command(name):
    assert command(name).get_short_help_str(SUMMARY_LENGTH) == COMMANDS[name].summary
    assert command(name).name == name


def test_the_list_imports_no_command():
    script = (
        "import sys; from tui.cli import run_command; run_command(['--help']);"
        "assert not [name for name in sys.modules if name.startswith('tui.cli.commands')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.external) if n == "protocol-test" else n for n in COMMANDS],
)
def test_the_example_of_each_command_works_on_the_sample_log(
    name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    text = help_of(name, capsys=capsys)
    examples = examples_in(text)
    assert examples
    assert shlex.split(examples[-1])[:2] == ["refold", name]
    assert all(len(line) <= 80 for line in text.splitlines())
    shutil.copytree(ROOT / "docs/examples", tmp_path / "docs/examples")
    shutil.copytree(EXAMPLE_FOLDER, tmp_path / "sample_logs/orders")
    monkeypatch.chdir(tmp_path / "sample_logs/orders")
    if name == "open":
        monkeypatch.setattr("tui.cli.support.options.is_terminal", lambda: True)
        monkeypatch.setattr("tui.app.run_app", lambda *_, **__: None)
    if name == "protocol-test" and shutil.which("node") is None:
        pytest.skip("node is not installed")
    for line in examples:
        program, *arguments = shlex.split(line)
        assert program == "refold"
        # `check` finds a broken invariant, so its answer is no.
        assert cli.run_command(arguments) == int(name == "check"), capsys.readouterr().err
