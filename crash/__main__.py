"""`python -m crash [PART…] [--size long|short]`: try to break refold, and print the findings.

The exit code is 1 if there is any finding. `--only PART/KIND --seed N --try M` repeats one try.
`--piece 2/8` runs one of eight pieces of the campaign, `--hours H` stops after so long, and `--total`
prints one table of all runs whose findings are in the same folder.
"""

import argparse
import math
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from crash import campaign
from crash.campaign import Part, Plan
from crash.command import import_refold
from crash.escapes.escapes import Escapes
from crash.finding import Tally
from crash.inputs.fuzzed_inputs import FuzzedInputs
from crash.kills.kills import Kills
from crash.kills.syscall_stop import is_supported
from crash.workspaces.workspaces import HostileWorkspaces

_PARTS: tuple[type[Part], ...] = (Kills, FuzzedInputs, Escapes, HostileWorkspaces)
_LONG = {"kills": 1_000, "inputs": 100_000, "escapes": 300, "workspaces": 100}
_SHORT = {"kills": 6, "inputs": 250, "escapes": 7, "workspaces": 1}


def main() -> None:
    """Run the tries that the arguments ask for, and print the table."""
    options = _arguments()
    if options.total:
        _finish(Tally.read_all(options.findings), options.findings)
        return
    if not sys.platform.startswith("linux") or not is_supported():
        raise SystemExit("The campaign runs only on Linux, on x86-64 and ARM64.")
    started = time.monotonic()
    import_refold()
    with tempfile.TemporaryDirectory(prefix="refold-crash-") as folder:
        plan = Plan(
            seed=options.seed,
            jobs=options.jobs if options.number is None else 1,
            folder=Path(folder).resolve() / "tries",
            findings=options.findings,
            tries=_tries(options),
            end=math.inf if options.hours is None else started + options.hours * 3_600,
        )
        print(f"seed {plan.seed}, {plan.jobs} processes", file=sys.stderr)
        tally = campaign.run(plan)
    tally.seconds = time.monotonic() - started
    if options.number is None:
        tally.keep(options.findings, _run_name(options))
    _finish(tally, options.findings)
    if plan.tries_left(tally):
        print(f"{plan.tries_left(tally):,} tries were not run, because the time was over.")


def _finish(tally: Tally, findings: Path) -> None:
    """Print the table; exit with 1 if there is any finding."""
    campaign.print_table(tally)
    if any(kind.with_findings for kind in tally.kinds.values()):
        print(f"The findings, and how to repeat each, are in {findings}.")
        raise SystemExit(1)


def _run_name(options: argparse.Namespace) -> str:
    """Return a name for the tally of a run; the same tries get the same name."""
    asked = [options.size, *options.parts, options.only, options.piece, f"seed-{options.seed}"]
    asked += [f"{name}-{getattr(options, name)}" for name in _LONG if getattr(options, name)]
    return re.sub(r"\W+", "-", " ".join(str(one) for one in asked if one))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m crash", description=__doc__)
    names = [part.name for part in _PARTS]
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(names))
    parser.add_argument("--size", choices=("long", "short"), default="long")
    parser.add_argument("--only", metavar="PART/KIND", help="Run one kind of try.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--piece", metavar="I/N", help="Run the I-th of N pieces of the tries.")
    parser.add_argument("--hours", type=float, help="Begin no new try after so many hours.")
    parser.add_argument("--total", action="store_true", help="Only print the table of all runs.")
    parser.add_argument(
        "--try", dest="number", type=int, help="Run one try, by its number; needs --only."
    )
    parser.add_argument("--jobs", type=int, default=2, help="How many processes share the tries.")
    parser.add_argument(
        "--findings", type=Path, default=Path(".crash"), help="The folder for findings."
    )
    for name, count in _LONG.items():
        help_text = f"How many {name} to try; {count:,} in the long form, {_SHORT[name]:,} in the short one."
        parser.add_argument(f"--{name}", type=int, help=help_text)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(names):
        parser.error(f"Unknown part {min(unknown)!r}; the parts are {', '.join(names)}.")
    if options.number is not None and not options.only:
        parser.error("--try needs --only.")
    if options.piece and not re.fullmatch(r"[1-9]\d*/[1-9]\d*", options.piece):
        parser.error("Write --piece I/N, such as --piece 2/8.")
    return options


def _tries(options: argparse.Namespace) -> dict[type[Part], dict[str, Sequence[int]]]:
    counts = _LONG if options.size == "long" else _SHORT
    wanted_part, _, wanted_kind = (options.only or "").partition("/")
    found: dict[type[Part], dict[str, Sequence[int]]] = {}
    for part in _PARTS:
        if options.only and part.name != wanted_part:
            continue
        if options.parts and part.name not in options.parts:
            continue
        count = getattr(options, part.name) or (_LONG if options.only else counts)[part.name]
        kinds = part.kinds(count)
        if wanted_kind and wanted_kind not in kinds:
            raise SystemExit(f"Unknown kind {wanted_kind!r}; the kinds are {', '.join(kinds)}.")
        found[part] = {
            kind: _piece(range(count), options.piece)
            if options.number is None
            else [options.number]
            for kind, count in kinds.items()
            if not wanted_kind or kind == wanted_kind
        }
    if not found:
        raise SystemExit(f"Unknown part {wanted_part!r}.")
    return found


def _piece(numbers: range, piece: str | None) -> range:
    """Return the I-th of N parts of these numbers, for a piece I/N."""
    if piece is None:
        return numbers
    part, count = (int(one) for one in piece.split("/"))
    return numbers[len(numbers) * (part - 1) // count : len(numbers) * part // count]


if __name__ == "__main__":
    main()
