"""`--read-only-below`: the files that a handler can read, and the variables it gets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="landlock is Linux's"),
    pytest.mark.real_worker,
]
ROOT = Path(__file__).parents[3]
MAIN = "from tui.cli import main; main()"

READING = """
import os
import decimal, json, ssl, sqlite3, zoneinfo  # what an interpreter needs of the system is there
def read(path):
    try:
        with open(path) as stream:
            return stream.read()
    except OSError as error:
        return type(error).__name__
def listed(path):
    try:
        return len(os.listdir(path)) > 0
    except OSError as error:
        return type(error).__name__
def apply(state, event):
    places = event.data
    state["secret"] = read(places["secret"])
    state["folder"] = listed(os.path.dirname(places["secret"]))
    state["own"] = read(os.path.join(os.path.dirname(__file__), "rates.txt"))
    state["allowed"] = read(places["allowed"])
    state["parent"] = read("/proc/%d/environ" % os.getppid())[:15]
    state["variable"] = os.environ.get("AWS_SECRET_ACCESS_KEY")
    state["zone"] = str(zoneinfo.ZoneInfo("Europe/Berlin"))
"""


@pytest.fixture
def folder(tmp_path: Path):
    for name in ("project", "home", "allowed"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "id_ed25519").write_text("private")
    (tmp_path / "allowed" / "more.txt").write_text("more")
    project = tmp_path / "project"
    (project / "p.py").write_text(READING)
    (project / "rates.txt").write_text("own")
    data = {
        "secret": str(tmp_path / "home" / "id_ed25519"),
        "allowed": str(tmp_path / "allowed" / "more.txt"),
    }
    event = {"stream": "a", "type": "T", "data": data}
    (project / "log.jsonl").write_text(json.dumps(event) + "\n")
    return tmp_path


def _state(folder, *arguments, **env):
    config = {"XDG_CONFIG_HOME": str(folder / "config"), "AWS_SECRET_ACCESS_KEY": "hidden"}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        cwd=folder / "project",
        env={**os.environ, "PYTHONPATH": str(ROOT), **config, **env},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


def test_by_default_a_handler_can_read_what_the_user_can(folder):
    found = _state(folder, "state", "log.jsonl", "-p", "p.py", "--json")["state"]
    assert (found["secret"], found["allowed"], found["own"]) == ("private", "more", "own")
    assert found["variable"] == "hidden"


def test_with_the_option_a_handler_can_read_only_the_folder_and_its_code(folder):
    allowed = str(folder / "allowed")
    found = _state(
        folder, "state", "log.jsonl", "-p", "p.py", "--json", "--read-only-below", allowed
    )["state"]
    assert (found["allowed"], found["own"]) == ("more", "own")
    assert found["secret"] == found["folder"] == found["parent"] == "PermissionError"
    assert found["variable"] is None
    assert found["zone"] == "Europe/Berlin"


def test_a_projection_from_refold_toml_can_read_only_its_folder(folder):
    (folder / "project" / "refold.toml").write_text('[projections.mine]\ncode = "p.py"\n')
    _trusted(folder)
    found = _state(folder, "state", "log.jsonl", "-p", "mine", "--json")["state"]
    assert (found["secret"], found["allowed"], found["own"]) == (
        *("PermissionError", "PermissionError"),
        "own",
    )
    everything = ("--read-only-below", "/")
    again = _state(folder, "replay", "log.jsonl", "-p", "mine", "--json", "--force", *everything)
    assert again["failures"] == 0
    assert (
        _state(folder, "state", "log.jsonl", "-p", "mine", "--json")["state"]["secret"] == "private"
    )


def _trusted(folder):
    config = {"XDG_CONFIG_HOME": str(folder / "config"), "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-c", MAIN, "trust"],
        cwd=folder / "project",
        env={**os.environ, **config},
        check=True,
        capture_output=True,
    )
