"""The commands that the campaign stops in the middle, and the folder that each needs."""

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from crash import sample
from crash.command import Home, Outcome, run_function, run_refold
from crash.finding import Finding

WORKSPACE = "w.refold"
_EVENTS = 120
_CALLING_EVENTS = 25
"""Fewer events, because the recorder writes each call before and after it is made."""
_COMMITTED = ("events", "rejects", "timelines", "edits", "calls", "bodies")
_MADE = (*_COMMITTED, "bookmarks", "watches")

Check = Callable[[Home], Iterator[Finding]]


@dataclass(frozen=True)
class KillCommand:
    """One command, the folder that it needs, and what must hold after it stopped."""

    name: str
    prepare: Callable[[Home], None]
    arguments: Sequence[str] = ()
    function: Callable[[], int] | None = None
    """A function to run instead of a command, for something that only the screen does."""
    is_atomic: bool = True
    """Whether the workspace must be as before or as after, and nothing in between."""
    can_repeat: bool = True
    """Whether the command succeeds if its work is already done."""
    ends_alike: bool = True
    """Whether a second run gives the rows of an undisturbed one. `record` does not, because it never
    sends again what may have been sent."""
    folds: bool = False
    """Whether the command folds a projection."""
    keeps: tuple[str, ...] = _MADE
    """Tables that may lose no row."""
    completion: Sequence[str] = ()
    """The command that folds what is missing if all rows of the tables in `keeps` were written."""
    outputs: tuple[str, ...] = ()
    """Files that must be as before, as after, or absent."""
    check: Check | None = None

    def run(self, home: Home, **options: object) -> Outcome:
        """Run the command or the function, and return how it ended."""
        if self.function is not None:
            return run_function(home, self._call, label=[self.name], **options)  # type: ignore[arg-type]
        return run_refold(home, self.arguments, **options)  # type: ignore[arg-type]

    def _call(self) -> int:
        """Call the function; on an error, end like a command does."""
        from storage.errors import RefoldError

        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return 0 if self.function is None else self.function()
        except RefoldError as error:
            print(error.message, file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            return 4
        except RuntimeError as error:
            if "interrupted" in str(error):  # DuckDB raises this for a signal during a query
                return 4
            raise


def _must(home: Home, *arguments: str) -> None:
    outcome = run_refold(home, arguments, limit_seconds=60)
    if outcome.code != 0:
        message = outcome.stderr.decode("utf-8", "replace")
        raise RuntimeError(f"The campaign can't prepare {' '.join(arguments)}: {message}")


def _log(home: Home) -> None:
    sample.write_log(home.folder / "log.jsonl", _EVENTS)


def _loaded(home: Home) -> None:
    _log(home)
    (home.folder / "orders.py").write_text(sample.PROJECTION)
    _must(home, "load", "log.jsonl", "-o", WORKSPACE)


def _grown(home: Home) -> None:
    sample.write_log(home.folder / "log.jsonl", _EVENTS // 2)
    _must(home, "load", "log.jsonl", "-o", WORKSPACE)
    _log(home)


def _folded(home: Home) -> None:
    _loaded(home)
    _must(home, "replay", WORKSPACE, "-p", "orders.py")


def _forked(home: Home) -> None:
    _folded(home)
    _must(home, "fork", WORKSPACE, "a", "--drop", "20")
    _must(home, "fork", WORKSPACE, "b", "--drop", "40", "--note", "kept")


def _lived_in(home: Home) -> None:
    _forked(home)
    _journal(home)
    _must(home, "calls-import", WORKSPACE, "calls.jsonl")
    _made(home, _add_bookmark, "add a bookmark")
    _made(home, _add_watch, "add a watch")


def _imports(home: Home) -> None:
    _loaded(home)
    _journal(home)


def _journal(home: Home) -> None:
    lines = [
        {"event_id": f"e{n}", "port": "rates", "operation": "rate", "request": n, "response": n}
        for n in range(30)
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (home.folder / "calls.jsonl").write_text(text)


def _calling(home: Home) -> None:
    sample.write_log(home.folder / "log.jsonl", _CALLING_EVENTS)
    (home.folder / "calling.py").write_text(sample.CALLING)
    (home.folder / "answer.py").write_text(sample.ANSWERS)
    (home.folder / "refold.toml").write_text(sample.PORTS.format(python=sys.executable))
    _must(home, "load", "log.jsonl", "-o", WORKSPACE)


def _declared(home: Home) -> None:
    (home.folder / "orders.py").write_text(sample.PROJECTION)
    (home.folder / "refold.toml").write_text('[projections.orders]\ncode = "orders.py"\n')


def _aged(home: Home) -> None:
    """Change the workspace into one that a refold of format 9 would have written."""
    _lived_in(home)
    _made(home, lambda: _make_older(home.folder / WORKSPACE), "age")


def _made(home: Home, function: Callable[[], int], name: str) -> None:
    outcome = run_function(home, function, label=[name])
    if outcome.code != 0:
        raise RuntimeError(f"The campaign can't {name}: {outcome.stderr!r}")


def _make_older(path: Path) -> int:
    with duckdb.connect(path) as connection:
        for number in range(1, 9):
            connection.execute(f"ALTER TABLE history DROP COLUMN number{number}")
        connection.execute("ALTER TABLE folds DROP COLUMN numbers")
        connection.execute("UPDATE workspace SET value = '9' WHERE name = 'format_version'")
    return 0


def _add_bookmark() -> int:
    from storage.marks import bookmarks
    from storage.workspace.workspace_file import WorkspaceFile

    bookmarks.add_bookmark(WorkspaceFile(Path(WORKSPACE)), offset=5, note="here", key="order-1")
    return 0


def _add_watch() -> int:
    from storage.marks import watches
    from storage.workspace.workspace_file import WorkspaceFile

    watches.add_watch(WorkspaceFile(Path(WORKSPACE)), "states", "state.total > 3")
    return 0


def _make_key() -> int:
    from storage.ingest.io.keyed_hash import load_or_create_key

    return 0 if len(load_or_create_key()) == 32 else 1


def _nothing_sent_twice(home: Home) -> Iterator[Finding]:
    sent = home.folder / "sent.log"
    lines = sent.read_text().splitlines() if sent.exists() else []
    if twice := {line for line in lines if lines.count(line) > 1}:
        yield Finding("sent twice", f"{len(twice)} commands, such as {min(twice)}")


def _key_is_whole(home: Home) -> Iterator[Finding]:
    key = home.folder / "home/config/refold/redaction.key"
    if key.exists() and not re.fullmatch(r"[0-9a-f]{64}\n?", key.read_text()):
        yield Finding("broken redaction key", f"it holds {len(key.read_bytes())} bytes")


def _agreements_are_whole(home: Home) -> Iterator[Finding]:
    kept = home.folder / "home/config/refold/agreed.json"
    if kept.exists():
        try:
            json.loads(kept.read_text())
        except ValueError as error:
            yield Finding("broken agreements", str(error))


_RECORD = ("record", WORKSPACE, "-p", "calling.py", "--config", "refold.toml", "--send", "mail")
_ALL = (
    KillCommand("load", _log, ("load", "log.jsonl", "-o", WORKSPACE)),
    KillCommand("load-append", _grown, ("load", "log.jsonl", "-o", WORKSPACE)),
    KillCommand(
        "load-replace", _lived_in, ("load", "log.jsonl", "-o", WORKSPACE, "--replace"), keeps=()
    ),
    KillCommand(
        "replay", _loaded, ("replay", WORKSPACE, "-p", "orders.py"), is_atomic=False, folds=True
    ),
    KillCommand(
        "replay-fork",
        _forked,
        ("replay", WORKSPACE, "-p", "orders.py", "--timeline", "a"),
        is_atomic=False,
        folds=True,
    ),
    KillCommand("fork", _folded, ("fork", WORKSPACE, "f", "--drop", "5"), can_repeat=False),
    KillCommand("edit", _forked, ("edit", WORKSPACE, "a", "--drop", "30"), can_repeat=False),
    KillCommand(
        "remove",
        _lived_in,
        ("remove", WORKSPACE, "--stream", "order-3", "--yes"),
        keeps=("bookmarks", "watches"),
        can_repeat=False,
    ),
    KillCommand(
        "record",
        _calling,
        _RECORD,
        is_atomic=False,
        folds=True,
        ends_alike=False,
        check=_nothing_sent_twice,
        keeps=_COMMITTED,
    ),
    KillCommand("bookmarks", _loaded, function=_add_bookmark, can_repeat=False),
    KillCommand("watches", _loaded, function=_add_watch, can_repeat=False),
    KillCommand("migrate", _aged, ("migrate", WORKSPACE), keeps=("events", "edits", "calls")),
    KillCommand(
        "join",
        _forked,
        ("join", WORKSPACE, "a", "b", "c", "-p", "orders.py"),
        completion=("replay", WORKSPACE, "-p", "orders.py", "--timeline", "c"),
        is_atomic=False,
        folds=True,
        can_repeat=False,
    ),
    KillCommand("calls-import", _imports, ("calls-import", WORKSPACE, "calls.jsonl")),
    KillCommand(
        "calls-export",
        _lived_in,
        ("calls-export", WORKSPACE, "out.har"),
        outputs=("out.har",),
        can_repeat=False,
    ),
    KillCommand(
        "export",
        _forked,
        ("export", WORKSPACE, "out.jsonl", "--timeline", "a", "--replace"),
        outputs=("out.jsonl",),
    ),
    KillCommand(
        "fork-export",
        _forked,
        ("fork-export", WORKSPACE, "a", "fork.json"),
        outputs=("fork.json",),
        can_repeat=False,
    ),
    KillCommand("trust", _declared, ("trust", "refold.toml"), check=_agreements_are_whole),
    KillCommand("redaction-key", _log, function=_make_key, check=_key_is_whole),
    KillCommand(
        "load-redact",
        _log,
        ("load", "log.jsonl", "-o", WORKSPACE, "--redact", "data.email"),
        check=_key_is_whole,
    ),
)
COMMANDS = {command.name: command for command in _ALL}
