"""Tries of consent: refold runs code that a `refold.toml` names only after the person agreed."""

import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crash import sample
from crash.command import Home, Outcome, run_refold
from crash.escapes.terminal import Terminal
from crash.file_watch import FileWatch
from crash.finding import Finding, TryResult
from crash.output_rules import broken_rules
from crash.workspaces.stranger import Lures

_WORKSPACE = "w.refold"


@dataclass(frozen=True)
class Consent:
    """Something that a `refold.toml` can run, and the command that runs it."""

    name: str
    toml: str
    command: tuple[str, ...]
    named: str
    """Names that the question and `refold trust` must show."""
    by_question: bool = False
    """Whether the person agrees at another command's question instead of with `refold trust`."""


_PROJECTION = '[projections.orders]\ncode = "plain.py"\n'
_PORT = '[ports.rates]\nlive = "cmd:sh evil.sh"\n'
_RECORD = ("record", _WORKSPACE, "-p", "calling.py")
CONSENTS = (
    Consent(
        "projection",
        '[projections.evil]\ncode = "evil.py"\n',
        ("state", _WORKSPACE, "-p", "evil"),
        "evil.py",
    ),
    Consent(
        "interpreter",
        '[projections.orders]\ncode = "plain.py"\npython = "./evil-python"\n',
        ("state", _WORKSPACE, "-p", "orders"),
        "evil-python",
    ),
    Consent("program of a port", _PROJECTION + _PORT, _RECORD, "evil.sh"),
    Consent("program of a port, asked", _PROJECTION + _PORT, _RECORD, "evil.sh", by_question=True),
    Consent(
        "program of a port in a replay",
        _PROJECTION + _PORT + 'missing = ["record"]\n',
        ("replay", _WORKSPACE, "-p", "calling.py"),
        "evil.sh",
    ),
    Consent(
        "decoder",
        '[sources.shop]\nfrom = "packed.jsonl"\nmap = { data = "data" }\n'
        'decode = { data = "python:evil.py:unpack" }\n',
        ("load", "shop", "-o", "d.refold"),
        "evil.py",
    ),
    Consent(
        "source elsewhere",
        '[sources.shop]\nfrom = "postgresql://x@127.0.0.1:{port}/x?table=t&connect_timeout=2"\n',
        ("load", "shop", "-o", "d.refold"),
        "127.0.0.1",
    ),
)


class Consents:
    """Runs the tries of consent."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder)
        self._lures = Lures(folder)

    def run(self, number: int) -> TryResult:
        """Run what a file names without consent, with consent, and after the named code changed."""
        consent = CONSENTS[number % len(CONSENTS)]
        started = time.monotonic()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            self._prepare(consent, listener.getsockname()[1])
            with FileWatch([self._lures.ran]) as watch:
                findings = [*self._try(consent, watch, listener)]
        named = [Finding(f.fault, f"{consent.name}: {f.detail}") for f in findings]
        return TryResult(named, time.monotonic() - started, 0.0)

    def _prepare(self, consent: Consent, port: int) -> None:
        folder = self._home.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._lures.write()
        sample.write_log(folder / "log.jsonl", 20)
        (folder / "plain.py").write_text(sample.PROJECTION)
        (folder / "calling.py").write_text(sample.CALLING)
        (folder / "packed.jsonl").write_text(
            '{"stream": "a", "type": "A", "data": "eyJhIjogMX0="}\n' * 5
        )
        outcome = run_refold(self._home, ["load", "log.jsonl", "-o", _WORKSPACE])
        if outcome.code != 0:
            raise RuntimeError(f"The campaign can't load its log: {outcome.stderr!r}")
        (folder / "refold.toml").write_text(consent.toml.replace("{port}", str(port)))

    def _try(
        self, consent: Consent, watch: FileWatch, listener: socket.socket
    ) -> Iterator[Finding]:
        outcome = run_refold(self._home, consent.command)
        yield from broken_rules(outcome)
        if self._has_run(watch, listener):
            yield Finding("ran without consent", "before anybody was asked")
            return
        shown, agreed = self._agree(consent)
        yield from broken_rules(agreed)
        watch.opened()
        outcome = run_refold(self._home, consent.command)
        has_run = self._has_run(watch, listener)
        if has_run and consent.named not in shown:
            yield Finding("ran without consent", f"{consent.named} is not named in {shown!r}")
        if not has_run and not consent.by_question:
            yield Finding("does not run", outcome.stderr.decode("utf-8", "replace")[-400:])
        if consent.named.startswith("evil"):
            yield from self._after_change(consent, watch, listener)

    def _after_change(
        self, consent: Consent, watch: FileWatch, listener: socket.socket
    ) -> Iterator[Finding]:
        """Change the content of the named file, but not its behaviour."""
        path = self._home.folder / consent.named
        path.write_text(path.read_text() + "\n# changed\n")
        watch.opened()
        run_refold(self._home, consent.command)
        if self._has_run(watch, listener):
            yield Finding("ran without consent", f"{consent.named} has changed since")

    def _agree(self, consent: Consent) -> tuple[str, Outcome]:
        """Agree, and return the text that refold showed."""
        if not consent.by_question:
            outcome = run_refold(self._home, ["trust", "refold.toml"])
            return (outcome.stdout + outcome.stderr).decode("utf-8", "replace"), outcome
        with Terminal(b"y\ny\n") as terminal:
            asking = ["state", _WORKSPACE, "-p", "orders"]
            attach, drain = terminal.attach, terminal.drain
            outcome = run_refold(self._home, asking, before=attach, watch=drain)
            terminal.drain()
            return terminal.output.decode("utf-8", "replace"), outcome

    def _has_run(self, watch: FileWatch, listener: socket.socket) -> bool:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return self._lures.ran in watch.opened()
        return True
