"""`python -m sample_logs NAME --events N`: write a sample log of any size to a file or a pipe."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sample_logs import SAMPLES, generate


def _count(text: str) -> int:
    number = int(text.replace("_", ""))
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sample_logs",
        description="Write a sample event log as JSON lines. The same arguments, the same bytes.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", choices=list(SAMPLES))
    parser.add_argument("--events", metavar="N", type=_count, help="how many lines to write")
    parser.add_argument("--seed", metavar="S", type=_count, default=1, help="default: 1")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="-", help="default: standard output"
    )
    parser.add_argument("--list", action="store_true", help="list the samples and stop")
    return parser


def _write(chunks: Iterator[bytes], output: str) -> None:
    if output != "-":
        with Path(output).open("wb") as file:
            file.writelines(chunks)
        return
    try:
        sys.stdout.buffer.writelines(chunks)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader closed the pipe (`| head`). Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        for sample in SAMPLES.values():
            print(f"{sample.name:<10}{sample.title}")
        return 0
    if options.name is None or options.events is None:
        parser.error("NAME and --events are needed (or --list)")
    try:
        _write(generate(options.name, options.events, options.seed), options.output)
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
