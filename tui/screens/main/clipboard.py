"""Copies for the clipboard: JSON of a pane, and the address of the view."""

from collections.abc import Callable

from replay.document import paths
from tui.screens.main.ports import Clipboard, Notifier, PathCursor
from tui.state.view_address import Address
from tui.state.view_state import ViewState


class ClipboardController:
    """Copies what is shown."""

    def __init__(
        self,
        state: ViewState,
        notifier: Notifier,
        clipboard: Clipboard,
        document: PathCursor,
        focused_text: Callable[[], str],
    ) -> None:
        """`focused_text` returns the JSON of the pane that has the focus."""
        self._state = state
        self._notifier = notifier
        self._clipboard = clipboard
        self._document = document
        self._focused_text = focused_text

    def copy_json(self) -> None:
        """Copy the event or the document."""
        text = self._focused_text()
        if text:
            self._clipboard.copy_to_clipboard(text)
            self._notifier.show_message(f"Copied {len(text):,} characters of JSON.")

    def copy_address(self) -> None:
        """Copy the address of this view, for `refold open`."""
        data, path = self._state.data, self._document.path
        address = Address(
            data.workspace.path.resolve(),
            data.workspace.timeline,
            str(data.workspace.label_at(self._state.position)),
            data.history.fold_record.label if data.history else None,
            self._state.key,
            paths.format_path(path) if path else None,
        )
        self._clipboard.copy_to_clipboard(str(address))
        self._notifier.show_message(f"Copied: refold open '{address}'")
