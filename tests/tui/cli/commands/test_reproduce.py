"""`refold reproduce`: its output, and errors that write nothing."""

import json
from pathlib import Path

import pytest

from tui import cli

PROJECTION = """
def apply(state, event):
    if event.data["n"] == 3:
        raise ValueError("three")
    state["n"] = event.data["n"]
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Runs `refold reproduce` in a folder with `log.jsonl` and `p.py`; returns code, output, errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.py").write_text(PROJECTION)
    with (tmp_path / "log.jsonl").open("w") as stream:
        for n in range(5):
            event = {"id": f"e{n}", "stream": "s", "type": "Ticked", "data": {"n": n}}
            stream.write(json.dumps(event) + "\n")

    def run(*arguments: str, projection: str = "p.py") -> tuple[int, str, str]:
        code = cli.run_command(["reproduce", "log.jsonl", "-p", projection, *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_it_prints_the_folder_and_what_the_test_asserts(shell, tmp_path: Path):
    code, out, err = shell("--at", "3")
    assert (code, out.strip()) == (0, str(tmp_path / "s@3"))
    assert (
        "4 events; the test asserts: the handler of Ticked does not raise ValueError: three." in err
    )
    code, out, _ = shell("--at", "4", "--expect", "n=5", "-o", "found", "--json")
    told = json.loads(out)
    assert code == 0
    assert told == {
        "folder": "found",
        "key": "s",
        "events": 5,
        "test": "found/test_s_at_4.py",
        "asserts": ["n = 5 (it was 4)"],
    }
    page = (tmp_path / "found" / "README.md").read_text()
    assert f"refold debug {tmp_path}/log.refold -p {tmp_path}/p.py --at 4 --key s" in page


def test_the_name_of_a_history_is_enough_because_no_code_runs(shell, tmp_path: Path):
    assert shell("--at", "3")[0] == 0
    (tmp_path / "p.py").write_text("raise SystemExit\n")
    assert shell("--at", "4", "--expect", "n=5", projection="p")[0] == 0


def test_an_expectation_that_already_holds_is_reported(shell):
    code, _, err = shell("--at", "4", "--expect", "n=4.0")
    assert code == 0
    assert "n = 4.0 already holds at 4" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--at", "4"), 2, "Give the expected value with --expect PATH=JSON."),
        (("--at", "4", "--expect", "n=text"), 2, "Expected PATH=JSON"),
        (("--at", "4", "--key", "nobody", "--expect", "n=1"), 2, "reached a document 'nobody'"),
        (("--at", "start"), 2, "There is no event at the start"),
        (("--at", "4", "--expect", "n=5", "-o", "full"), 2, "isn't empty"),
        (("--at", "4", "--expect", "n=5", "-o", "p.py"), 2, "is a file"),
        (("--at", "4", "--expect", "n=5", "-o", "p.py/in"), 2, "can't be written"),
    ],
)
def test_an_error_is_one_sentence_and_nothing_is_written(
    shell, tmp_path: Path, arguments, code, said
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    found, out, err = shell(*arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    assert not (tmp_path / "s@4").exists()


def test_an_exported_folder_is_replaced_only_with_replace(shell, tmp_path: Path):
    assert shell("--at", "3")[0] == 0
    assert shell("--at", "3")[0] == 2
    assert shell("--at", "3", "--expect", "n=9", "--replace")[0] == 0
    assert "n = 9" in (tmp_path / "s@3" / "README.md").read_text()
