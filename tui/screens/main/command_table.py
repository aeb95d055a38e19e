"""What each command does: the controller's method by the id in `tui.commands`."""

from collections.abc import Callable, Mapping
from functools import partial

from tui.folding.controller import FoldController
from tui.results import log_queries, projection_queries
from tui.screens.main.controllers import Controllers
from tui.state.view_state import ViewState

CommandTable = Mapping[str, Callable[[], object]]


def build_command_table(
    state: ViewState, folds: FoldController, controllers: Controllers
) -> CommandTable:
    """Return the actions of all commands but those of the screen itself: zoom, help, back, quit."""
    return {
        **_time_commands(controllers),
        **_find_commands(state, controllers),
        **_query_commands(controllers),
        **_mark_commands(state, controllers),
        **_fork_commands(controllers),
        "projection.next": folds.show_next_projection,
        "fold.anew": folds.refold,
        "fold.cancel": folds.cancel,
        "debug": controllers.handler.step_into,
        "reproduce": controllers.handler.export_reproduction,
        "code": controllers.code.toggle,
        "copy": controllers.clipboard.copy_json,
        "copy.address": controllers.clipboard.copy_address,
    }


def list_ways_back(
    state: ViewState, folds: FoldController, controllers: Controllers
) -> list[Callable[[], bool]]:
    """Return what Esc closes or cancels, the innermost first."""
    return [
        controllers.playback.stop,
        controllers.results.stop_query,
        folds.clear_code_edit,
        controllers.results.close,
        controllers.plots.close,
        controllers.code.close,
        controllers.search.clear_matches,
        controllers.search.clear_filter,
        state.clear_base,
        state.unpin,
    ]


def _time_commands(controllers: Controllers) -> CommandTable:
    navigation, playback = controllers.navigation, controllers.playback
    return {
        "time.next": partial(navigation.step, 1),
        "time.previous": partial(navigation.step, -1),
        "stream.next": partial(navigation.go_in_stream, 1),
        "stream.previous": partial(navigation.go_in_stream, -1),
        "change.next": partial(navigation.go_to_change, 1),
        "change.previous": partial(navigation.go_to_change, -1),
        "value.previous": partial(navigation.go_to_value_change, -1),
        "value.next": partial(navigation.go_to_value_change, 1),
        "failure.next": partial(navigation.go_to_failure, 1),
        "failure.previous": partial(navigation.go_to_failure, -1),
        "time.start": navigation.go_to_start,
        "time.end": navigation.go_to_end,
        "time.goto": partial(controllers.prompts.open, "goto"),
        "time.play": playback.toggle,
        "play.faster": partial(playback.change_speed, 1),
        "play.slower": partial(playback.change_speed, -1),
        "history.back": navigation.jump_back,
        "history.forward": navigation.jump_forward,
    }


def _find_commands(state: ViewState, controllers: Controllers) -> CommandTable:
    prompts, search = controllers.prompts, controllers.search
    return {
        "search": partial(prompts.open, "search"),
        "search.next": partial(search.go_to_match, 1),
        "search.previous": partial(search.go_to_match, -1),
        "finding.go": controllers.results.pick_row,
        "filter": partial(prompts.open, "filter"),
        "document.find": partial(prompts.open, "document"),
        "document.pin": lambda: state.set_pinned(not state.view.is_pinned),
    }


def _query_commands(controllers: Controllers) -> CommandTable:
    results = controllers.results
    return {
        "ask.changes": results.list_value_changes,
        "ask.when": partial(controllers.prompts.open, "when"),
        "ask.broken": partial(results.run_query, projection_queries.invariant_violations),
        "ask.failures": partial(results.run_query, projection_queries.handler_failures),
        "ask.unhandled": partial(results.run_query, projection_queries.unhandled_types),
        "ask.irregular": partial(results.run_query, log_queries.list_irregularities),
        "ask.calls": partial(results.run_query, projection_queries.outside_calls),
        "calls.answer": controllers.forks.answer_or_override_call,
        "calls.assign": controllers.calls.open_assign_prompt,
        "ask.causes": results.list_causes,
        "ask.log": results.open_logpoint_prompt,
        "ask.values": controllers.plots.open_prompt,
        "ask.sql": controllers.sql.open,
    }


def _mark_commands(state: ViewState, controllers: Controllers) -> CommandTable:
    bookmarks = controllers.bookmarks
    return {
        "keep.base": lambda: state.set_base(state.position if state.view.base is None else None),
        "keep.bookmark": partial(controllers.prompts.open, "note"),
        "keep.bookmarks": partial(controllers.results.run_query, log_queries.list_bookmarks),
        "keep.watch": bookmarks.add_watch,
        "keep.forget": bookmarks.remove,
    }


def _fork_commands(controllers: Controllers) -> CommandTable:
    forks, comparison = controllers.forks, controllers.comparison
    return {
        "fork": forks.ask_name,
        "fork.drop": forks.drop_event,
        "fork.drop_all": forks.ask_dropped,
        "fork.replace": forks.replace_event,
        "fork.set": forks.ask_value,
        "fork.insert": forks.insert_event,
        "fork.move": forks.ask_destination,
        "fork.reverse": forks.reverse_event,
        "fork.undo": forks.undo,
        "fork.redo": forks.redo,
        "fork.compare": comparison.list_documents,
        "fork.calls": comparison.list_calls,
        "fork.logs": comparison.list_events,
        "fork.resolve": controllers.merges.ask_resolution,
        "sweep": controllers.sweeps.open,
        "timelines": controllers.timelines.list,
    }
