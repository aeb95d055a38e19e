"""A worker that stays running between folds of forks, because starting one takes most of the time."""

from contextlib import ExitStack
from typing import Any

from replay.event_fold.fold_run import FoldRun
from replay.projection import projection_reference
from replay.worker_host.worker_group import WorkerGroup


class WarmWorker:
    """A reusable worker for one projection's forks. Use it as a context manager."""

    def __init__(self) -> None:
        self._worker_group: WorkerGroup | None = None
        self._stack = ExitStack()
        self._started_for: tuple[Any, ...] = ()
        self._ready_header: dict[str, Any] = {}

    def __enter__(self) -> "WarmWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the worker; the next `prepare_worker` starts a new one."""
        self._stack.close()
        self._worker_group = None

    def prepare_worker(
        self, run: FoldRun, *, exact_encoding: bool, round_trips_json: bool
    ) -> tuple[WorkerGroup, dict[str, Any]]:
        """Return a worker that holds no documents, and its ready message.

        Reuse the running worker if projection, settings and code are unchanged; start one if not.
        """
        configuration = (run.reference, exact_encoding, round_trips_json)
        is_reusable = (
            self._worker_group is not None
            and self._started_for == configuration
            and self._worker_group.can_reset
        )
        if (
            is_reusable
            and self._worker_group is not None
            and projection_reference.are_files_unchanged(self._ready_header["files"])
        ):
            self._worker_group.reset(run.gateway_bridge)
            return self._worker_group, self._ready_header
        self.close()
        limits = run.limits
        worker_group = self._stack.enter_context(
            WorkerGroup(
                run.reference,
                1,
                run.gateway_bridge,
                careful=exact_encoding,
                resuming=True,
                plain=round_trips_json,
                patience=limits.patience_seconds,
                memory=limits.memory_bytes,
            )
        )
        self._ready_header = dict(worker_group.wait_until_ready())
        self._worker_group, self._started_for = worker_group, configuration
        return worker_group, self._ready_header
