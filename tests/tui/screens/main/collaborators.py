"""Plain objects in place of what a controller uses: no application, no thread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from storage.errors import RefoldError
from tui.state.query_runner import Query
from tui.state.timeline_view import query_timeline
from tui.state.view_state import ViewState


@dataclass
class Runner:
    """Runs a query at once, or when `finish` is called if it is held."""

    notifier: "Notifier"
    is_held: bool = False
    held: list[tuple[Query, Callable[[], None], str]] = field(default_factory=list)

    def run(
        self,
        work: Callable[[Query], Any],
        then: Callable[[Any], object] | None = None,
        *,
        group: str = "",
        failure: str = "The query failed",
        on_error: Callable[[str], object] | None = None,
    ) -> Query:
        if group:
            self.cancel(group)
        query = Query(lambda call, *values: call(*values))

        def finish() -> None:
            try:
                result = work(query)
            except RefoldError as error:
                query.report(on_error or self.notifier.show_error, error.message)
            else:
                query.report(then or (lambda _: None), result)
            query.is_finished = True

        self.held.append((query, finish, group))
        if not self.is_held:
            self.finish()
        return query

    def finish(self) -> None:
        """Run what is held."""
        while self.held:
            _, finish, _ = self.held.pop(0)
            finish()

    def cancel(self, group: str) -> bool:
        running = [query for query, _, name in self.held if name == group and not query.is_finished]
        for query in running:
            query.cancel()
        return bool(running)


@dataclass
class Notifier:
    """Keeps the messages."""

    messages: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def show_message(self, message: str) -> None:
        self.messages.append(message)

    def show_error(self, message: str) -> None:
        self.errors.append(message)

    def clear_error(self) -> None:
        self.errors.clear()


@dataclass
class Prompts:
    """Keeps the prompts that were opened, and enters texts."""

    notifier: Notifier
    opened: list[tuple[str, str]] = field(default_factory=list)
    handlers: dict[str, Callable[[str], object]] = field(default_factory=dict)

    def open(self, purpose: str, value: str = "") -> None:
        self.opened.append((purpose, value))

    def open_later(self, purpose: str, value: str = "") -> None:
        self.open(purpose, value)

    def correct(self, message: str, typed: Any) -> None:
        self.notifier.show_error(message)
        if typed is not None:
            self.opened.append(tuple(typed))

    def answer_with(
        self, purpose: str, handler: Callable[[str], object], *, takes_empty: bool = False
    ) -> None:
        self.handlers[purpose] = handler

    def enter(self, purpose: str, text: str) -> None:
        self.handlers[purpose](text)


@dataclass
class Screens:
    """Keeps the screens that were opened, each with the function for its result."""

    opened: list[tuple[Any, Callable[[Any], object] | None]] = field(default_factory=list)

    def push_screen(self, screen: Any, callback: Callable[[Any], object] | None = None) -> None:
        self.opened.append((screen, callback))


@dataclass
class Scheduler:
    """Keeps the functions to call later."""

    waiting: list[Callable[[], object]] = field(default_factory=list)
    timers: list[Callable[[], object]] = field(default_factory=list)

    def call_later(self, callback: Callable[..., Any], *values: Any) -> None:
        self.waiting.append(lambda: callback(*values))

    def set_timer(self, delay: float, callback: Callable[[], Any]) -> Any:
        self.timers.append(callback)
        return SimpleNamespace(stop=lambda: self.timers.remove(callback))

    def run(self) -> None:
        """Call what waits."""
        while self.waiting:
            self.waiting.pop(0)()


@dataclass
class Pane:
    """A pane with a document cursor, an event list, and the focus."""

    path: tuple[Any, ...] = ()
    cursor: int = -1
    has_focus: bool = True
    findings: Any = None
    position: int | None = None
    shown: list[tuple[str, Any]] = field(default_factory=list)

    def point_at(self, path: tuple[Any, ...]) -> None:
        self.path = path

    def focus(self) -> None:
        self.has_focus = True

    def show_all(self, count: int, fetch: Callable[..., Sequence[Any]]) -> None:
        self.shown.append(("all", fetch(0, count)))

    def show_only(self, found: Any, what: str, fetch: Callable[..., Sequence[Any]]) -> None:
        self.shown.append((what, fetch(list(found))))

    def mark_matches(self, matches: Any) -> None:
        self.shown.append(("matches", list(matches)))

    def move_cursor_to(self, position: int) -> None:
        self.position = position

    def show_table(self, findings: Any) -> None:
        self.findings = findings

    def stop_growing(self) -> None:
        self.shown.append(("stopped", None))

    def move_cursor(self, line: int) -> None:
        self.cursor = line

    def row(self, line: int) -> Any:
        rows = self.findings.rows
        return rows[line] if rows is not None and line < len(rows) else None


class Desk:
    """A view state over a workspace, and the objects that most controllers use."""

    def __init__(self, workspace: Any) -> None:
        self.state = ViewState(query_timeline(workspace))
        self.notifier = Notifier()
        self.runner = Runner(self.notifier)
        self.prompts = Prompts(self.notifier)
        self.screens = Screens()
        self.scheduler = Scheduler()
        self.document = Pane()
        self.events = Pane()
        self.folds = SimpleNamespace(
            current=None,
            running=False,
            edit=None,
            calls=[],
            refold=lambda: self.folds.calls.append("refold"),
            fold_new_events=lambda: self.folds.calls.append("fold_new_events"),
        )

    @property
    def shared(self) -> tuple[ViewState, Runner, Notifier]:
        return self.state, self.runner, self.notifier
