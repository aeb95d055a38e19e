"""Everything that can be asked of the screen: one registry for keys, footer, help and palette.

Keys can be remapped by id (`[keys]` in the configuration of Textual's keymap); two commands with
the same key are a mistake that a test finds.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Command:
    """Something a person can do."""

    id: str
    keys: str
    """Textual's names, separated by commas."""
    shown: str
    """The key as a person sees it."""
    title: str
    group: str
    action: str
    footer: str = ""
    """What the footer says of it, if it is one of the few that matter."""
    needs: str = ""
    """What must be there, as the screen's parts say in `there`."""

    def binding(self) -> Binding:
        return Binding(
            self.keys,
            self.action,
            self.footer or self.title,
            show=bool(self.footer),
            key_display=self.shown,
            id=self.id,
        )


COMMANDS: Sequence[Command] = (
    Command("time.next", "right_square_bracket", "]", "next event", "time", "step(1)", "next"),
    Command(
        "time.previous", "left_square_bracket", "[", "event before", "time", "step(-1)", "back"
    ),
    Command(
        "stream.next",
        "right_curly_bracket",
        "}",
        "next in stream",
        "time",
        "in_stream(1)",
        "stream",
    ),
    Command(
        "stream.previous", "left_curly_bracket", "{", "before in stream", "time", "in_stream(-1)"
    ),
    Command(
        *("change.next", "right_parenthesis", ")", "next change", "time", "change(1)", "change"),
        needs="document",
    ),
    Command(
        *("change.previous", "left_parenthesis", "(", "change before", "time", "change(-1)"),
        needs="document",
    ),
    Command(
        *("value.previous", "w", "w", "who changed this", "time", "touched(-1)"),
        needs="document",
    ),
    Command(
        *("value.next", "W,shift+w", "W", "who changed it next", "time", "touched(1)"),
        needs="document",
    ),
    Command(
        *("failure.next", "exclamation_mark", "!", "next failure", "time", "failure(1)"),
        needs="failures",
    ),
    Command(
        *("failure.previous", "number_sign", "#", "failure before", "time", "failure(-1)"),
        needs="failures",
    ),
    Command("time.start", "g", "g", "start of the log", "time", "to_start"),
    Command("time.end", "G,shift+g", "G", "end of the log", "time", "to_end"),
    Command("time.goto", "colon", ":", "go to", "time", "prompt('goto')", "go to"),
    Command("time.play", "p", "p", "play, pause", "time", "play"),
    Command("play.faster", "greater_than_sign", ">", "play faster", "time", "speed(1)"),
    Command("play.slower", "less_than_sign", "<", "play slower", "time", "speed(-1)"),
    Command("history.back", "ctrl+o", "ctrl+o", "jump back", "time", "jump_back"),
    Command("history.forward", "ctrl+n,alt+o", "ctrl+n", "jump forward", "time", "jump_forward"),
    Command("search", "slash", "/", "search", "find", "prompt('search')", "search"),
    Command("search.next", "n", "n", "next match", "find", "match(1)", needs="search"),
    Command(
        "search.previous", "N,shift+n", "N", "match before", "find", "match(-1)", needs="search"
    ),
    Command(
        *("finding.go", "enter", "enter", "go to the row of the table", "find", "pick_finding"),
        needs="findings",
    ),
    Command("filter", "f", "f", "filter", "find", "prompt('filter')", "filter"),
    Command(
        *("document.find", "d", "d", "find a document", "find", "prompt('document')"),
        needs="history",
    ),
    Command("document.pin", "P,shift+p", "P", "pin the document", "find", "pin", needs="document"),
    Command(
        "ask.changes", "b", "b", "all its changes", "ask", "changes_of_value", needs="document"
    ),
    Command("ask.when", "F,shift+f", "F", "when was it so", "ask", "when", "when", needs="history"),
    Command("ask.broken", "i", "i", "broken invariants", "ask", "broken", needs="history"),
    Command("ask.failures", "x", "x", "all failures", "ask", "failures", needs="failures"),
    Command(
        "ask.unhandled",
        "X,shift+x",
        "X",
        "events without handler",
        "ask",
        "unhandled",
        needs="history",
    ),
    Command("ask.irregular", "J,shift+j", "J", "irregular order", "ask", "irregular"),
    Command("ask.calls", "C,shift+c", "C", "calls to the outside", "ask", "calls", needs="calls"),
    Command(
        *("calls.answer", "a", "a", "answer it, or otherwise", "ask", "answer"), needs="called"
    ),
    Command("calls.assign", "A,shift+a", "A", "this event made a call", "ask", "assign"),
    Command("ask.causes", "t", "t", "causes, as a tree", "ask", "causes"),
    Command("ask.log", "L,shift+l", "L", "logpoint", "ask", "logpoint", needs="history"),
    Command("ask.values", "v", "v", "values over time", "ask", "values", needs="history"),
    Command("ask.sql", "S,shift+s", "S", "SQL over the workspace", "ask", "sql"),
    Command("keep.base", "m", "m", "base: compare with here", "keep", "base", needs="history"),
    Command("keep.bookmark", "B,shift+b", "B", "bookmark this place", "keep", "bookmark"),
    Command("keep.bookmarks", "apostrophe", "'", "bookmarks", "keep", "bookmarks"),
    Command("keep.watch", "plus", "+", "watch the condition", "keep", "watch"),
    Command("keep.forget", "minus", "-", "forget bookmark or watch", "keep", "forget"),
    Command("copy.address", "Y,shift+y", "Y", "copy the address", "keep", "copy_address"),
    Command("fork", "K,shift+k", "K", "what if: fork here", "what if", "fork", "fork"),
    Command("fork.drop", "D,shift+d", "D", "drop this event", "what if", "drop_event"),
    Command("fork.drop_all", "Q,shift+q", "Q", "drop all that match", "what if", "drop_matching"),
    Command("fork.replace", "R,shift+r", "R", "edit this event", "what if", "replace_event"),
    Command("fork.set", "equals_sign", "=", "set a value of it", "what if", "set_value"),
    Command("fork.insert", "I,shift+i", "I", "insert an event after", "what if", "insert_event"),
    Command("fork.move", "M,shift+m", "M", "move this event", "what if", "move_event"),
    Command("fork.reverse", "Z,shift+z", "Z", "append its reversal", "what if", "reverse_event"),
    Command("fork.undo", "u", "u", "undo", "what if", "undo", needs="fork"),
    Command("fork.redo", "U,shift+u", "U", "redo", "what if", "redo", needs="fork"),
    Command("fork.compare", "V,shift+v", "V", "what differs", "what if", "compare", needs="beside"),
    Command(
        *("fork.calls", "ampersand", "&", "calls that differ", "what if", "compare_calls"),
        needs="beside",
    ),
    Command("fork.logs", "H,shift+h", "H", "both logs", "what if", "both_logs", needs="fork"),
    Command(
        *("fork.resolve", "O,shift+o", "O", "resolve the conflict", "what if", "resolve"),
        needs="conflict",
    ),
    Command(
        *("sweep", "asterisk", "*", "sweep: many forks at once", "what if", "sweep"),
        needs="reference",
    ),
    Command("timelines", "T,shift+t", "T", "timelines", "what if", "timelines"),
    Command("projection.next", "o", "o", "other projection", "fold", "other", needs="projections"),
    Command("fold.anew", "r", "r", "fold anew", "fold", "refold", needs="reference"),
    Command("fold.cancel", "c", "c", "cancel folding", "fold", "cancel_fold", needs="fold"),
    Command(*("debug", "s", "s", "step into the handler", "code", "debug"), needs="history"),
    Command(
        *("reproduce", "E,shift+e", "E", "export a reproduction", "code", "reproduce"),
        needs="history",
    ),
    Command("code", "e", "e", "the code", "code", "code", needs="history"),
    Command("copy", "y", "y", "copy", "view", "copy"),
    Command("pane.zoom", "z", "z", "pane alone, and back", "view", "zoom"),
    Command("back", "escape", "esc", "back", "view", "back"),
    Command("help", "question_mark", "?", "help", "view", "help", "help"),
    Command("quit", "q,ctrl+q", "q", "quit", "view", "app.quit"),
)


def bindings() -> list[BindingType]:
    """All of them, for a screen."""
    return [command.binding() for command in COMMANDS]


def requirement_names(**said: bool) -> set[str]:
    """The names of what is so."""
    return {name for name, so in said.items() if so}


_MISSING_REQUIREMENTS = {
    "beside": "A fork is compared with its parent, and this isn't one; K forks the log here.",
    "called": "This event called nothing of the outside.",
    "calls": "Nothing was called of the outside.",
    "conflict": "There is no conflict of a join to be resolved.",
    "document": "Select a document first, with d or in the list.",
    "failures": "No handler has failed.",
    "findings": "",  # Enter means something elsewhere
    "fold": "Nothing is being folded.",
    "fork": "This is the log itself, which is never changed; K forks it here.",
    "history": "Nothing is folded; name a projection with -p.",
    "projections": "There is no other projection; name several with -p.",
    "reference": "The code of this history isn't known here; name its projection with -p.",
    "search": "Nothing was searched; / searches, and n and N go through what is found.",
}
"""What to say where that isn't there which a command needs."""


def missing_requirement(key: str, there: Container[str]) -> str:
    """Why nothing happens at a key; empty where there is no more to say."""
    for command in COMMANDS:
        if key in command.keys.split(",") and command.needs and command.needs not in there:
            return _MISSING_REQUIREMENTS[command.needs]
    return ""


def available_commands(there: Container[str]) -> list[Command]:
    """Those that can be given, where so much is there of what commands need."""
    return [command for command in COMMANDS if not command.needs or command.needs in there]


def is_available(action: str, parameters: tuple[object, ...], there: Container[str]) -> bool:
    """Whether an action can be run, as `possible`; one that belongs to no command always can."""
    asked = f"{action}({', '.join(map(repr, parameters))})"
    named = [c for c in COMMANDS if c.action.partition("(")[0] == action]
    needs = next((c.needs for c in named if c.action == asked), named[0].needs if named else "")
    return not needs or needs in there
