"""A worker that is kept ready: it forgets its documents between one fork and the next."""

from contextlib import ExitStack
from typing import Any

from replay.event_fold.run_context import Run
from replay.projection import reference
from replay.worker_host.worker_group import Crew


class Standing:
    """A worker for one projection's forks. Use as a context manager."""

    def __init__(self) -> None:
        self._crew: Crew | None = None
        self._stack = ExitStack()
        self._for: tuple[Any, ...] = ()
        self._ready: dict[str, Any] = {}

    def __enter__(self) -> "Standing":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the worker go."""
        self._stack.close()
        self._crew = None

    def crew(self, run: Run, *, careful: bool, plain: bool) -> tuple[Crew, dict[str, Any]]:
        """A worker without any document, and what it said of its projection."""
        wanted = (run.wanted, careful, plain)
        fits = self._crew is not None and self._for == wanted and self._crew.renews
        if fits and self._crew is not None and reference.unchanged(self._ready["files"]):
            self._crew.anew(run.calling)
            return self._crew, self._ready
        self.close()
        means = run.means
        crew = self._stack.enter_context(
            Crew(
                run.wanted,
                1,
                run.calling,
                careful=careful,
                resuming=True,
                plain=plain,
                patience=means.patience,
                memory=means.memory,
            )
        )
        self._ready = dict(crew.ready())
        self._crew, self._for = crew, wanted
        return crew, self._ready
