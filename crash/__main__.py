"""`python -m crash [PART…] [--size long|short]`: try to break refold, and print what was found.

Exits with 1 if there is any finding. `--only PART/KIND --seed N --try M` repeats one try.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from crash import campaign
from crash.campaign import Part, Plan
from crash.command import import_refold
from crash.escapes.escapes import Escapes
from crash.inputs.fuzzed_inputs import FuzzedInputs
from crash.kills.kills import Kills
from crash.kills.syscall_stop import is_supported
from crash.workspaces.workspaces import HostileWorkspaces

_PARTS: tuple[type[Part], ...] = (Kills, FuzzedInputs, Escapes, HostileWorkspaces)
_LONG = {"kills": 1_000, "inputs": 100_000, "escapes": 300, "workspaces": 100}
_SHORT = {"kills": 6, "inputs": 250, "escapes": 7, "workspaces": 1}


def main() -> None:
    """Make the tries that are asked for."""
    asked = _arguments()
    if not sys.platform.startswith("linux") or not is_supported():
        raise SystemExit("The campaign runs on Linux on x86-64 and ARM64 only.")
    started = time.monotonic()
    import_refold()
    with tempfile.TemporaryDirectory(prefix="refold-crash-") as folder:
        plan = Plan(
            seed=asked.seed,
            jobs=asked.jobs if asked.number is None else 1,
            folder=Path(folder).resolve() / "tries",
            findings=asked.findings,
            tries=_tries(asked),
        )
        print(f"seed {plan.seed}, {plan.jobs} processes", file=sys.stderr)
        tally = campaign.run(plan)
    campaign.print_table(tally, time.monotonic() - started)
    if any(kind.with_findings for kind in tally.kinds.values()):
        print(f"The findings, and how to repeat each, are in {asked.findings}.")
        raise SystemExit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m crash", description=__doc__)
    names = [part.name for part in _PARTS]
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(names))
    parser.add_argument("--size", choices=("long", "short"), default="long")
    parser.add_argument("--only", metavar="PART/KIND", help="One kind of try.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--try", dest="number", type=int, help="The number of one try.")
    parser.add_argument("--jobs", type=int, default=2, help="Processes that share the tries.")
    parser.add_argument("--findings", type=Path, default=Path(".crash"), help="A folder.")
    for name, count in _LONG.items():
        help_text = f"How many; {count:,} in the long form, {_SHORT[name]:,} in the short one."
        parser.add_argument(f"--{name}", type=int, help=help_text)
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(names):
        parser.error(f"There is no part {min(unknown)!r}; there are {', '.join(names)}.")
    if asked.number is not None and not asked.only:
        parser.error("--try needs --only.")
    return asked


def _tries(asked: argparse.Namespace) -> dict[type[Part], dict[str, Sequence[int]]]:
    counts = _LONG if asked.size == "long" else _SHORT
    wanted_part, _, wanted_kind = (asked.only or "").partition("/")
    found: dict[type[Part], dict[str, Sequence[int]]] = {}
    for part in _PARTS:
        if asked.only and part.name != wanted_part:
            continue
        if asked.parts and part.name not in asked.parts:
            continue
        count = getattr(asked, part.name) or (_LONG if asked.only else counts)[part.name]
        kinds = part.kinds(count)
        if wanted_kind and wanted_kind not in kinds:
            raise SystemExit(f"There is no kind {wanted_kind!r}; there are {', '.join(kinds)}.")
        found[part] = {
            kind: range(count) if asked.number is None else [asked.number]
            for kind, count in kinds.items()
            if not wanted_kind or kind == wanted_kind
        }
    if not found:
        raise SystemExit(f"There is no part {wanted_part!r}.")
    return found


if __name__ == "__main__":
    main()
