"""Queries in threads: results, errors, cancellation."""

import threading
from types import SimpleNamespace
from typing import Any

from storage.errors import QueryError
from tui.state.query_runner import Query, ThreadQueryRunner


class Host:
    """Runs threads, and calls at once what should run on the screen's thread."""

    def __init__(self) -> None:
        self.app = SimpleNamespace(call_from_thread=lambda call, *values: call(*values))
        self.threads: list[threading.Thread] = []

    def run_worker(self, work: Any, **_: Any) -> Any:
        thread = threading.Thread(target=work)
        self.threads.append(thread)
        thread.start()
        return SimpleNamespace(is_cancelled=False, cancel=lambda: None)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(10)


def test_a_result_is_handed_on() -> None:
    host, found = Host(), list[int]()
    query = ThreadQueryRunner(host, found.append).run(lambda _: 7, found.append)
    host.join()
    assert found == [7]
    assert query.is_finished


def test_an_error_is_shown_by_its_message_and_any_other_is_summarized() -> None:
    host, shown = Host(), list[str]()
    runner = ThreadQueryRunner(host, shown.append)

    def fail(error: Exception) -> Any:
        def work(_: Query) -> None:
            raise error

        return work

    runner.run(fail(QueryError("No such path.")))
    host.join()
    runner.run(fail(ValueError("bad value")), failure="The plot failed")
    host.join()
    special: list[str] = []
    runner.run(fail(QueryError("Mine.")), on_error=special.append)
    host.join()
    assert shown[0] == "No such path."
    assert shown[1].startswith("The plot failed: ")
    assert "bad value" in shown[1]
    assert (len(shown), special) == (2, ["Mine."])


def test_what_was_cancelled_reports_nothing() -> None:
    host, shown = Host(), list[Any]()
    runner = ThreadQueryRunner(host, shown.append)
    go_on = threading.Event()

    def work(query: Query) -> int:
        go_on.wait(10)
        query.report(shown.append, "part")
        return 1

    first = runner.run(work, shown.append, group="table")
    assert runner.cancel("table")
    assert not runner.cancel("table")
    second = runner.run(work, shown.append, group="table")
    third = runner.run(work, shown.append, group="table")
    assert first.is_cancelled
    assert second.is_cancelled, "a query replaces the one before it in its group"
    go_on.set()
    host.join()
    assert shown == ["part", 1]
    assert third.is_finished
