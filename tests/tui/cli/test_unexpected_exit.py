"""Commands that end in an unexpected way: only a closed output counts as success."""

import os
import subprocess
import sys

import pytest

from tui.cli import run_command
from tui.cli.commands import inspect


def end_command_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `refold irregularities` raise this."""

    def raise_error(**_: object) -> None:
        raise error

    monkeypatch.setattr(inspect.irregularities, "callback", raise_error)


@pytest.mark.parametrize("exit_code", [None, 0, 1, "text"])
def test_an_exit_inside_a_command_is_an_error(monkeypatch, capsys, exit_code):
    end_command_with(monkeypatch, SystemExit(exit_code))
    assert run_command(["irregularities", "log.jsonl"]) == 2
    assert "Unexpected error: SystemExit" in capsys.readouterr().err


def test_a_broken_pipe_elsewhere_than_at_the_output_is_an_error(monkeypatch, capfd):
    end_command_with(monkeypatch, BrokenPipeError(32, "Broken pipe"))
    assert run_command(["irregularities", "log.jsonl"]) == 2
    assert "Broken pipe" in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["events", "--help"], ["demo", "orders"]])
def test_a_reader_that_is_gone_is_no_error(arguments, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-P", "-m", "tui.cli", *arguments]
    ended = subprocess.run(
        command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert ended.returncode == 0, ended.stderr
    assert not {"Traceback", "refold:", "Broken"} & set(ended.stderr.split())


def test_shell_completion_prints_its_script(tmp_path):
    command = [sys.executable, "-P", "-m", "tui.cli"]
    environment = {**os.environ, "_REFOLD_COMPLETE": "bash_source"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "_REFOLD_COMPLETE=bash_complete" in ended.stdout


def test_shell_completion_of_an_unknown_shell_is_no_success(tmp_path):
    command = [sys.executable, "-P", "-m", "tui.cli"]
    environment = {**os.environ, "_REFOLD_COMPLETE": "cobol_source"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert ended.returncode == 1
