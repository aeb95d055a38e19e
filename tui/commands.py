"""The commands of the main screen: one registry for keys, footer, help and command palette.

Keys can be remapped by command id with Textual's keymap. A test fails if two commands share a key.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Command:
    """A command of the main screen, with its key and its labels."""

    id: str
    keys: str
    """Key names as Textual writes them, separated by commas."""
    shown: str
    """The key as the screen shows it."""
    title: str
    group: str
    action: str
    footer: str = ""
    """Label in the footer; empty if the footer does not list the command."""
    needs: str = ""
    """Name of the requirement for the command, see `requirement_names`; empty: always available."""

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
        "time.previous", "left_square_bracket", "[", "previous event", "time", "step(-1)", "back"
    ),
    Command(
        "stream.next",
        "right_curly_bracket",
        "}",
        "next event of this stream",
        "time",
        "in_stream(1)",
        "stream",
    ),
    Command(
        "stream.previous",
        "left_curly_bracket",
        "{",
        "previous event of this stream",
        "time",
        "in_stream(-1)",
    ),
    Command(
        *(
            "change.next",
            "right_parenthesis",
            ")",
            "next change of the document",
            "time",
            "change(1)",
            "change",
        ),
        needs="document",
    ),
    Command(
        *(
            "change.previous",
            "left_parenthesis",
            "(",
            "previous change of the document",
            "time",
            "change(-1)",
        ),
        needs="document",
    ),
    Command(
        *("value.previous", "w", "w", "last change of this value", "time", "touched(-1)"),
        needs="document",
    ),
    Command(
        *("value.next", "W,shift+w", "W", "next change of this value", "time", "touched(1)"),
        needs="document",
    ),
    Command(
        *("failure.next", "exclamation_mark", "!", "next handler error", "time", "failure(1)"),
        needs="failures",
    ),
    Command(
        *("failure.previous", "number_sign", "#", "previous handler error", "time", "failure(-1)"),
        needs="failures",
    ),
    Command("time.start", "g", "g", "start of the log", "time", "to_start"),
    Command("time.end", "G,shift+g", "G", "end of the log", "time", "to_end"),
    Command("time.goto", "colon", ":", "go to a position", "time", "prompt('goto')", "go to"),
    Command("time.play", "p", "p", "play or pause", "time", "play"),
    Command("play.faster", "greater_than_sign", ">", "play faster", "time", "speed(1)"),
    Command("play.slower", "less_than_sign", "<", "play slower", "time", "speed(-1)"),
    Command("history.back", "ctrl+o", "ctrl+o", "jump back", "time", "jump_back"),
    Command("history.forward", "ctrl+n,alt+o", "ctrl+n", "jump forward", "time", "jump_forward"),
    Command("search", "slash", "/", "search events", "find", "prompt('search')", "search"),
    Command("search.next", "n", "n", "next match", "find", "match(1)", needs="search"),
    Command(
        "search.previous", "N,shift+n", "N", "previous match", "find", "match(-1)", needs="search"
    ),
    Command(
        *("finding.go", "enter", "enter", "go to the selected row", "find", "pick_finding"),
        needs="findings",
    ),
    Command("filter", "f", "f", "filter events", "find", "prompt('filter')", "filter"),
    Command(
        *("document.find", "d", "d", "find a document", "find", "prompt('document')"),
        needs="history",
    ),
    Command(
        "document.pin",
        "P,shift+p",
        "P",
        "pin or unpin the document",
        "find",
        "pin",
        needs="document",
    ),
    Command(
        "ask.changes",
        "b",
        "b",
        "all changes of this value",
        "queries",
        "changes_of_value",
        needs="document",
    ),
    Command(
        "ask.when",
        "F,shift+f",
        "F",
        "find by condition",
        "queries",
        "when",
        "find",
        needs="history",
    ),
    Command("ask.broken", "i", "i", "invariant violations", "queries", "broken", needs="history"),
    Command("ask.failures", "x", "x", "handler errors", "queries", "failures", needs="failures"),
    Command(
        "ask.unhandled",
        "X,shift+x",
        "X",
        "events without a handler",
        "queries",
        "unhandled",
        needs="history",
    ),
    Command("ask.irregular", "J,shift+j", "J", "gaps and duplicates", "queries", "irregular"),
    Command("ask.calls", "C,shift+c", "C", "outside calls", "queries", "calls", needs="calls"),
    Command(
        *("calls.answer", "a", "a", "answer or override a call", "queries", "answer"),
        needs="called",
    ),
    Command("calls.assign", "A,shift+a", "A", "link a call to this event", "queries", "assign"),
    Command("ask.causes", "t", "t", "causes and effects", "queries", "causes"),
    Command(
        "ask.log", "L,shift+l", "L", "evaluate a logpoint", "queries", "logpoint", needs="history"
    ),
    Command("ask.values", "v", "v", "plot values over time", "queries", "values", needs="history"),
    Command("ask.sql", "S,shift+s", "S", "SQL over the workspace", "queries", "sql"),
    Command(
        "keep.base", "m", "m", "set or clear the base position", "marks", "base", needs="history"
    ),
    Command("keep.bookmark", "B,shift+b", "B", "bookmark this position", "marks", "bookmark"),
    Command("keep.bookmarks", "apostrophe", "'", "list bookmarks", "marks", "bookmarks"),
    Command("keep.watch", "plus", "+", "watch this condition", "marks", "watch"),
    Command("keep.forget", "minus", "-", "remove bookmark or watch", "marks", "forget"),
    Command("copy.address", "Y,shift+y", "Y", "copy a link to this view", "marks", "copy_address"),
    Command("fork", "K,shift+k", "K", "fork the log here", "what if", "fork", "fork"),
    Command("fork.drop", "D,shift+d", "D", "drop this event", "what if", "drop_event"),
    Command(
        "fork.drop_all", "Q,shift+q", "Q", "drop all matching events", "what if", "drop_matching"
    ),
    Command("fork.replace", "R,shift+r", "R", "edit this event", "what if", "replace_event"),
    Command("fork.set", "equals_sign", "=", "set a value in this event", "what if", "set_value"),
    Command(
        "fork.insert", "I,shift+i", "I", "insert an event after this", "what if", "insert_event"
    ),
    Command("fork.move", "M,shift+m", "M", "move this event", "what if", "move_event"),
    Command(
        "fork.reverse", "Z,shift+z", "Z", "append a reversing event", "what if", "reverse_event"
    ),
    Command("fork.undo", "u", "u", "undo the last edit", "what if", "undo", needs="fork"),
    Command("fork.redo", "U,shift+u", "U", "redo the last edit", "what if", "redo", needs="fork"),
    Command(
        "fork.compare",
        "V,shift+v",
        "V",
        "compare with the parent",
        "what if",
        "compare",
        needs="beside",
    ),
    Command(
        *("fork.calls", "ampersand", "&", "compare outside calls", "what if", "compare_calls"),
        needs="beside",
    ),
    Command(
        "fork.logs",
        "H,shift+h",
        "H",
        "events beside the parent's",
        "what if",
        "both_logs",
        needs="fork",
    ),
    Command(
        *("fork.resolve", "O,shift+o", "O", "resolve this conflict", "what if", "resolve"),
        needs="conflict",
    ),
    Command(
        *("sweep", "asterisk", "*", "sweep: one fork per value", "what if", "sweep"),
        needs="reference",
    ),
    Command("timelines", "T,shift+t", "T", "list timelines", "what if", "timelines"),
    Command(
        "projection.next",
        "o",
        "o",
        "switch to the next projection",
        "projection",
        "other",
        needs="projections",
    ),
    Command("fold.anew", "r", "r", "fold again", "projection", "refold", needs="reference"),
    Command("fold.cancel", "c", "c", "cancel folding", "projection", "cancel_fold", needs="fold"),
    Command(*("debug", "s", "s", "step into the handler", "code", "debug"), needs="history"),
    Command(
        *("reproduce", "E,shift+e", "E", "export a reproduction", "code", "reproduce"),
        needs="history",
    ),
    Command("code", "e", "e", "show the handler's code", "code", "code", needs="history"),
    Command("copy", "y", "y", "copy JSON", "view", "copy"),
    Command("pane.zoom", "z", "z", "zoom pane", "view", "zoom"),
    Command("back", "escape", "esc", "close or go back", "view", "back"),
    Command("help", "question_mark", "?", "help: all keys", "view", "help", "help"),
    Command("quit", "q,ctrl+q", "q", "quit", "view", "app.quit"),
)


def bindings() -> list[BindingType]:
    """Return the key bindings of all commands, for a screen."""
    return [command.binding() for command in COMMANDS]


def requirement_names(**requirements: bool) -> set[str]:
    """Return the names of the requirements that are met."""
    return {name for name, is_met in requirements.items() if is_met}


_MISSING_REQUIREMENTS = {
    "beside": "Nothing to compare yet. Press K to fork the log here, or wait for the fork's fold.",
    "called": "This event made no outside calls.",
    "calls": "No handler made outside calls.",
    "conflict": "The selected document has no merge conflict.",
    "document": "No document is selected. Press d, or select one in the list.",
    "failures": "No handler raised an error.",
    "findings": "",  # Enter means something elsewhere
    "fold": "No fold is running.",
    "fork": "This is the log itself, which never changes. Press K to fork it here.",
    "history": "Nothing is folded yet. Wait for the fold, or start refold with -p FILE.",
    "projections": "There is only one projection. Give several with -p.",
    "reference": "refold runs only code that you name. Start it with the projection: -p FILE.",
    "search": "No search yet. Press /; then n and N go through the matches.",
}
"""Message shown when a command's requirement is not met."""


def missing_requirement(key: str, available: Container[str]) -> str:
    """Return the message for a key whose command is unavailable now; empty if there is none."""
    for command in COMMANDS:
        if key in command.keys.split(",") and command.needs and command.needs not in available:
            return _MISSING_REQUIREMENTS[command.needs]
    return ""


def available_commands(available: Container[str]) -> list[Command]:
    """Return the commands whose requirements are among the available ones."""
    return [command for command in COMMANDS if not command.needs or command.needs in available]


def is_available(action: str, parameters: tuple[object, ...], available: Container[str]) -> bool:
    """Return whether an action can run; an action that belongs to no command always can."""
    asked = f"{action}({', '.join(map(repr, parameters))})"
    named = [c for c in COMMANDS if c.action.partition("(")[0] == action]
    needs = next((c.needs for c in named if c.action == asked), named[0].needs if named else "")
    return not needs or needs in available
