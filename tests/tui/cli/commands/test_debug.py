"""`refold debug`: a handler under pdb, driven through standard input like a person types."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
MAIN = "from tui.cli import main; main()"

EVENTS = [
    ("a", "Added", {"n": 0.1}),
    ("b", "Added", {"n": 0.2}),
    ("a", "Added", {"n": 0.2, "to": "b"}),
    ("a", "Bad", {"why": "so"}),
    ("a", "Unknown", {}),
]
COUNT = """
    def on_Added(state, event):
        state["n"] = state.get("n", 0) + event.data["n"]
        state["last"] = event.offset
    def on_Bad(state, event):
        state["n"] = 5
        raise ValueError(event.data["why"])
"""


class Shell:
    """A folder with `log.jsonl` and `p.py`, and a terminal that types ahead."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
        with (folder / "log.jsonl").open("w") as stream:
            for n, (name, kind, data) in enumerate(EVENTS):
                event = {"id": f"e{n}", "stream": name, "type": kind, "data": data}
                stream.write(json.dumps(event) + "\n")

    def write(self, source: str, name: str = "p.py") -> None:
        (self.folder / name).write_text(textwrap.dedent(source))

    def run(self, *arguments: str, typed: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments],
            cwd=self.folder,
            env=self.env,
            input=typed,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout, done.stderr

    def debug(self, *arguments: str, typed: str = "") -> tuple[int, str, str]:
        return self.run("debug", "log.jsonl", "-p", "p.py", *arguments, typed=typed)


@pytest.fixture
def shell(tmp_path: Path):
    made = Shell(tmp_path)
    made.write(COUNT)
    return made


def test_it_stops_at_the_handlers_first_line_with_the_state_before_and_shows_what_changed(
    shell, tmp_path: Path
):
    assert shell.run("replay", "log.jsonl", "-p", "p.py")[0] == 0
    before = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in tmp_path.iterdir()}
    typed = "p state\np event.type, event.offset\nw\nn\nn\nn\nn\n"
    code, out, err = shell.debug("--at", "2", typed=typed)
    assert (code, err) == (0, "")
    first, _, rest = out.partition("(Pdb)")
    assert "p.py(3)on_Added()" in first
    assert 'state["n"] = state.get' in first
    assert "{'n': 0.1, 'last': 0}" in rest
    assert "('Added', 2)" in rest
    assert "refold_worker" not in out
    assert "bdb.py" not in out
    table = [line.split() for line in out.splitlines() if line.startswith("a ")]
    assert table == [["a", "n", "0.1", "0.30000000000000004"], ["a", "last", "0", "2"]]
    after = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in tmp_path.iterdir()}
    assert after == before


PROJECTIONS = {
    "a set": (
        """
        def initial(key): return {"seen": set()}
        def apply(state, event): state["seen"].add(event.offset)
        """,
        ("--at", "2"),
        "{'seen': {0}}",
    ),
    "decimals": (
        """
        DECIMALS = True
        def on_Added(state, event): state["n"] = state.get("n", 0) + event.data["n"]
        """,
        ("--at", "2"),
        "{'n': Decimal('0.1')}",
    ),
    "the first of several documents": (
        """
        def key(event): return [event.data.get("to", event.stream), event.stream]
        def apply(state, event, key): state[str(event.offset)] = key
        """,
        ("--at", "2"),
        "{'1': 'b'}",
    ),
    "the one that is named": (
        """
        def key(event): return [event.data.get("to", event.stream), event.stream]
        def apply(state, event, key): state[str(event.offset)] = {key}
        """,
        ("--at", "2", "--key", "a"),
        "{'0': {'a'}}",
    ),
    "the one that is preferred": (
        """
        def key(event): return [event.data.get("to", event.stream), event.stream]
        def apply(state, event, key): state[str(event.offset)] = key
        """,
        ("--at", "2", "--prefer", "a"),
        "{'0': 'a'}",
    ),
    "upcast": (
        """
        from types import SimpleNamespace
        def upcast(event):
            return SimpleNamespace(type="New", offset=event.offset, stream=event.stream.upper())
        def initial(key): return {"key": key}
        def on_New(state, event): state["last"] = event.offset
        """,
        ("--at", "2"),
        "{'key': 'A', 'last': 0}",
    ),
    "before its first event": (
        "def initial(key): return {'new': key}\ndef apply(state, event): pass\n",
        ("--at", "1"),
        "{'new': 'b'}",
    ),
    "after a failure": (
        """
        def initial(key): return {"seen": set()}
        def apply(state, event):
            state["seen"].add(event.offset)
            if event.type == "Bad": raise ValueError
        """,
        ("--at", "4"),
        "{'seen': {0, 2}}",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTIONS)
def test_the_debugger_has_the_state_before_the_event(shell, name):
    source, place, state = PROJECTIONS[name]
    shell.write(source)
    code, out, err = shell.debug(*place, typed="p state\nc\n")
    assert (code, "Traceback" in err) == (0, False), err
    assert state in out


def test_a_breakpoint_in_the_events_before_stops_nothing(shell):
    shell.write(
        """
        def initial(key): return {"seen": set()}
        def on_Added(state, event):
            if event.offset == 0: breakpoint()
            state["seen"].add(event.offset)
        """
    )
    _, out, _ = shell.debug("--at", "2", typed="p state\nc\n")
    assert out.count("on_Added()") == 1


def test_an_error_of_the_handler_is_shown_and_can_be_inspected(shell):
    code, out, err = shell.debug("--at", "3", typed="c\np state['n'], event.data\n")
    assert code == 0
    assert "ValueError: so" in err
    assert "raised, so a stays as it was" in err
    assert "refold_worker" not in err
    assert "(5, {'why': 'so'})" in out


def test_quitting_the_debugger_shows_no_differences(shell):
    code, out, err = shell.debug("--at", "2", typed="q\n")
    assert (code, err) == (0, "")
    assert "before" not in out


def test_a_handler_that_never_returns_can_be_stepped_into(shell):
    shell.write(
        "def on_Added(state, event): state['n'] = 1\ndef on_Bad(state, event):\n  while 1: 1\n"
    )
    assert shell.run("replay", "log.jsonl", "-p", "p.py", "--patience", "0.5")[0] == 3
    code, out, _ = shell.debug("--at", "3", typed="p state\nq\n")
    assert code == 0
    assert "{'n': 1}" in out


def test_the_handler_cannot_reach_the_outside_in_the_debugger(shell, tmp_path: Path):
    ways = ["open('out.txt', 'w')", "__import__('os').system('touch out.txt')"]
    ways.append("__import__('socket').socket().bind(('127.0.0.1', 0))")
    _, out, _ = shell.debug("--at", "2", typed="".join(f"!{way}\n" for way in ways))
    assert out.count("PermissionError: a replay") == len(ways)
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "code", "said"),
    [
        (("--at", "start"), 2, "The position `start` has no event"),
        (("--at", "4"), 2, "p has no handler for Unknown, the type of the event at 4."),
        (("--at", "2", "--key", "nobody"), 2, "The event at 2 reaches 'a', not 'nobody'."),
        (("--at", "99"), 2, "There is no event at 99"),
        (("--at", "2", "--ide"), 2, "has no debugpy, which an IDE needs"),
        (("--at", "2", "-p", "broken.py"), 3, "broken can't be loaded: SyntaxError"),
        (("--at", "2", "-p", "p"), 3, "p names only a history of log.refold"),
        (("--at", "2", "--python", "/no/python"), 3, "/no/python can't be started"),
        (("--at", "0", "-p", "dies.py"), 3, "dies exited with code 5 while it was debugged"),
        (("--at", "0", "-p", "lost.py"), 3, "raised for the event at 0: KeyError: 'k'"),
    ],
)
def test_an_error_is_one_sentence(shell, place, code, said):
    shell.write("def apply(state event): pass\n", "broken.py")
    shell.write("import os\ndef on_Added(state, event): os._exit(5)\n", "dies.py")
    shell.write("def key(event): return event.data['k']\ndef apply(state, event): 1\n", "lost.py")
    shell.run("replay", "log.jsonl", "-p", "p.py")
    found, _, err = shell.debug(*place, typed="c\n")
    assert found == code
    assert said in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_debug_waits_for_an_ide_before_it_locks_down_the_worker(shell, tmp_path: Path):
    library = tmp_path / "library"
    library.mkdir()
    (library / "debugpy.py").write_text(
        textwrap.dedent(
            """
            import socket
            def listen(place, in_process_debug_adapter=False):
                assert in_process_debug_adapter
                return socket.create_server(place).getsockname()
            def wait_for_client(): print("a client is there")
            def breakpoint(): print("stopped")
            """
        )
    )
    shell.env["PYTHONPATH"] = f"{ROOT}{os.pathsep}{library}"
    shell.write(
        """
        import socket
        def on_Added(state, event):
            try:
                socket.create_server(("127.0.0.1", 0))
            except OSError as error:
                state["n"] = type(error).__name__
        """
    )
    code, out, err = shell.debug("--at", "0", "--port", "0")
    assert code == 0
    assert "Waiting for an IDE at 127.0.0.1:" in err
    assert "listens there and nowhere else" in err
    assert "p.py:3" in err
    assert out.index("a client is there") < out.index("stopped")
    assert "PermissionError" in out


def test_a_large_document_is_a_plain_dict_in_the_debugger(shell):
    shell.write(
        """
        def initial(key): return {"items": {f"i{n}": {"n": n, "text": "x" * 200} for n in range(400)}}
        def apply(state, event): state["items"]["i7"]["n"] += 1
        """
    )
    assert shell.run("replay", "log.jsonl", "-p", "p.py")[0] == 0
    code, out, err = shell.debug("--at", "3", typed="p type(state), state['items']['i7']['n']\nc\n")
    assert (code, err) == (0, "")
    assert "<class 'dict'>" in out
    changed = [line.split() for line in out.splitlines() if "items.i7.n" in line]
    assert len(changed) == 1
    assert int(changed[0][3]) == int(changed[0][2]) + 1
