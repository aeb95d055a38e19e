"""The places that an attack runs in: a handler, a thread, a child, an import, a program."""

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crash.escapes.attacks import PRELUDE

WORKSPACE = "w.refold"
_ATTEMPT = """
def attack():
{attack}
def attempt():
    try:
        attack()
    except BaseException as error:
        return type(error).__name__
    return "no error"
"""
_PROGRAM_LOOP = """
for line in sys.stdin:
    message = __import__("json").loads(line)
    if "refold" in message:
        print('{"ready": 1}', flush=True)
    elif "event" in message:
        result = attempt() if message["event"]["offset"] == 2 else ""
        print('{"offset": %d, "changes": {}}' % message["event"]["offset"], flush=True)
"""
_BODIES = {
    "handler": """
def apply(state, event):
    state["n"] = attempt() if event.offset == 2 else 0
""",
    "thread": """
def apply(state, event):
    if event.offset == 2:
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join(5)
    state["n"] = 1
""",
    "import": """
attempt()
def apply(state, event):
    state["n"] = 1
""",
    "initial": """
def initial(key):
    attempt()
    return {}
def apply(state, event):
    state["n"] = 1
""",
    "key": """
def key(event):
    if event.offset == 2:
        attempt()
    return event.stream
def apply(state, event):
    state["n"] = 1
""",
    "upcast": """
def upcast(event):
    if event.offset == 2:
        attempt()
    return event
def apply(state, event):
    state["n"] = 1
""",
    "invariant": """
tried = []
def holds(state):
    if not tried:
        tried.append(attempt())
    return True
INVARIANTS = {"holds": holds}
def apply(state, event):
    state["n"] = event.offset
""",
    "child": """
def apply(state, event):
    if event.offset == 2:
        child = libc.fork()
        if child == 0:
            attempt()
            os._exit(0)
        libc.waitpid(child, None, 0)
    state["n"] = 1
""",
    "child of a raw call": """
def apply(state, event):
    if event.offset == 2:
        child = libc.syscall(NR["fork"] or 220, 17, 0, 0, 0, 0)
        if child == 0:
            attempt()
            os._exit(0)
        libc.waitpid(child, None, 0)
    state["n"] = 1
""",
    "executed program": """
def apply(state, event):
    if event.offset == 2:
        code = SOURCE.encode()
        child = libc.fork()
        if child == 0:
            arguments = (ctypes.c_char_p * 4)(sys.executable.encode(), b"-c", code, None)
            libc.execv(sys.executable.encode(), arguments)
            os._exit(1)
        libc.waitpid(child, None, 0)
    state["n"] = 1
""",
    "destructor": """
class Last:
    def __del__(self):
        attempt()
def apply(state, event):
    Last()
    state["n"] = 1
""",
    "program": _PROGRAM_LOOP,
    "decoder": """
def unpack(payload):
    global tried
    if not globals().get("tried"):
        tried = attempt()
    return payload
""",
    "debug": """
def apply(state, event):
    state["n"] = attempt()
""",
}
VARIANTS = tuple(_BODIES)
READS_KEYS = frozenset(("debug",))
"""Variants in which the command itself reads from the terminal."""


@dataclass(frozen=True)
class Hostile:
    """The commands that run a hostile file."""

    commands: Sequence[Sequence[str]]
    is_on_terminal: bool
    """Whether the terminal is the command's standard input and output."""


def write_hostile(folder: Path, attack: str, variant: str, targets: dict[str, object]) -> Hostile:
    """Write a file that runs an attack in one place."""
    lines = textwrap.indent(attack.strip("\n"), "    ")
    source = PRELUDE.format(targets=targets) + _ATTEMPT.format(attack=lines)
    if variant == "executed program":
        source += f"SOURCE = {source + 'attempt()'!r}\n"
    (folder / "hostile.py").write_text(source + _BODIES[variant])
    return Hostile(_commands(variant), variant == "debug")


def write_hostile_query(folder: Path, query: str, targets: dict[str, object]) -> Hostile:
    """Write a SQL projection that tries to reach more than its events."""
    (folder / "hostile.sql").write_text(query.format(**targets) + "\n")
    projection = ("-p", "hostile.sql", "--json")
    replay = ["replay", WORKSPACE, *projection, "--patience", "4", "--from", "0", "--to", "5"]
    return Hostile([replay, ["state", WORKSPACE, *projection, "--at", "5"]], is_on_terminal=False)


def _commands(variant: str) -> list[list[str]]:
    if variant == "decoder":
        decode = ["--map", "data=data", "--decode", "data=python:hostile.py:unpack"]
        return [["load", "packed.jsonl", "-o", "d.refold", *decode]]
    if variant == "debug":
        return [["debug", WORKSPACE, "-p", "hostile.py", "--at", "2"]]
    projection = "hostile.py"
    if variant == "program":
        projection = f"cmd:{sys.executable} hostile.py"
    limits = ["--patience", "4", "--memory", "300MB"]
    return [["replay", WORKSPACE, "-p", projection, "--json", "--force", *limits]]
