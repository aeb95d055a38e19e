"""The commands of refold in their groups: what `refold --help` lists, and where each is defined.

The summaries stand here beside the definitions, because importing every command's module to list
its help takes ten times as long. A test keeps them equal to the first sentence of each help text.
"""

from dataclasses import dataclass

SUMMARY_LENGTH = 60
"""Characters that a summary may have, so that the longest name and it fit in 80 columns."""


@dataclass(frozen=True)
class CommandEntry:
    """One line of the list of commands."""

    module: str
    """The module in `tui.cli.commands` that defines the command."""
    function: str
    """The name of the command in that module."""
    summary: str
    """The first sentence of the command's help text."""


GROUPS: dict[str, dict[str, CommandEntry]] = {
    "Look": {
        "demo": CommandEntry("open", "demo", "Find the bug of a sample projection on its log."),
        "open": CommandEntry("open", "open_", "Open the screen on a workspace or a source."),
        "events": CommandEntry("inspect", "events", "List events in order."),
        "state": CommandEntry("inspect", "state", "Show the documents at a position."),
        "diff": CommandEntry("inspect", "diff", "Show what changed between two positions."),
        "irregularities": CommandEntry(
            "inspect", "irregularities", "List gaps, duplicates and times that run backwards."
        ),
        "unhandled": CommandEntry(
            "inspect", "unhandled", "Count the events that PROJ has no handler for."
        ),
        "printed": CommandEntry("inspect", "printed", "Show what handlers printed, by event."),
        "sql": CommandEntry("inspect", "sql", "Query the tables of the workspace in SQL."),
    },
    "Find": {
        "find": CommandEntry("query", "find", "Find when a condition on a document became true."),
        "blame": CommandEntry("query", "blame", "Find the event that last changed a value."),
        "values": CommandEntry("query", "values", "Show how values developed over time."),
        "logpoint": CommandEntry("query", "logpoint", "Evaluate expressions at every event."),
        "causes": CommandEntry("query", "causes", "Show what led to an event, and its effects."),
        "failures": CommandEntry("inspect", "failures", "List the handlers that raised."),
        "check": CommandEntry("check", "check", "Check invariants over the whole history."),
        "debug": CommandEntry("debug", "debug", "Step through the handler of an event in pdb."),
    },
    "What if": {
        "fork": CommandEntry("fork", "fork", "Create a fork, a timeline with edited events."),
        "edit": CommandEntry("fork", "edit", "Add edits to a fork; undo or redo them."),
        "timelines": CommandEntry("timelines", "timelines", "List, rename or remove timelines."),
        "compare": CommandEntry(
            "timelines", "compare", "Compare the documents of two timelines or projections."
        ),
        "join": CommandEntry("timelines", "join", "Merge two forks into a third."),
        "sweep": CommandEntry("sweep", "sweep", "Try many variants of an event and rank them."),
    },
    "Outside": {
        "record": CommandEntry(
            "calls", "record", "Run PROJ with live queries and keep the answers."
        ),
        "calls": CommandEntry("calls", "calls", "List calls to the outside with their decisions."),
        "calls-import": CommandEntry(
            "calls", "calls_import", "Import recordings from vcrpy, HAR or JSON lines."
        ),
        "calls-export": CommandEntry(
            "calls", "calls_export", "Export all recordings to vcrpy, HAR or JSON lines."
        ),
        "calls-assign": CommandEntry(
            "calls", "calls_assign", "Assign an imported call to the event that caused it."
        ),
    },
    "Log": {
        "load": CommandEntry("load", "load", "Load a source, or append what is new in it."),
        "replay": CommandEntry("replay", "replay", "Fold PROJ over the log and keep every state."),
        "remove": CommandEntry("erase", "remove", "Delete events or values for good."),
        "migrate": CommandEntry(
            "migrate", "migrate", "Convert a workspace of an older refold to today's format."
        ),
        "trust": CommandEntry("trust", "trust", "Agree to what a refold.toml can run or reach."),
        "protocol-test": CommandEntry(
            "protocol", "protocol_test", "Test if a program speaks the worker protocol."
        ),
    },
    "Share": {
        "reproduce": CommandEntry(
            "reproduce", "reproduce", "Export a document's events and a test that shows a bug."
        ),
        "export": CommandEntry(
            "export", "export", "Write the log of a timeline as JSON lines or Parquet."
        ),
        "fork-export": CommandEntry(
            "export", "fork_export", "Write the edits of a fork to a small file."
        ),
        "fork-apply": CommandEntry(
            "export", "fork_apply", "Create a fork from a file of `refold fork-export`."
        ),
    },
}

COMMANDS: dict[str, CommandEntry] = {
    name: entry for commands in GROUPS.values() for name, entry in commands.items()
}
"""All commands by name, in the order of the list."""
