"""The part `kills`: stopped commands, and several writers at the same time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from crash.campaign import spread
from crash.finding import TryResult
from crash.kills.kill_commands import COMMANDS
from crash.kills.stopped_command import StoppedCommands
from crash.kills.two_writers import RACES, TwoWriters

_WRITERS_SHARE = 0.2


class Kills:
    """The part of the campaign that stops commands."""

    name = "kills"

    def __init__(self, folder: Path, seed: int) -> None:
        self._stopped = StoppedCommands(folder / "stopped", seed)
        self._writers = TwoWriters(folder / "writers", seed)

    @staticmethod
    def kinds(count: int) -> dict[str, int]:
        """Return how many tries of each kind make up `count` tries."""
        writers = max(1, round(count * _WRITERS_SHARE))
        return {**spread(list(COMMANDS), count - writers), **spread(list(RACES), writers)}

    def run(self, kind: str, numbers: Sequence[int]) -> Iterator[tuple[int, TryResult]]:
        """Yield the results of tries of one kind."""
        for number in numbers:
            if kind in COMMANDS:
                yield number, self._stopped.run(kind, number)
            else:
                yield number, self._writers.run(kind, number)
