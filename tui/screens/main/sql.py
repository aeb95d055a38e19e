"""The SQL screen: opened over the main screen, it returns the row to go to."""

from tui.screens.main.navigation import NavigationController
from tui.screens.main.ports import ScreenOpener
from tui.state.sql_session import RowTarget, SqlSession
from tui.state.view_state import ViewState


class SqlController:
    """Opens the SQL screen, and keeps its queries."""

    def __init__(
        self, state: ViewState, navigation: NavigationController, screens: ScreenOpener
    ) -> None:
        self._state = state
        self._navigation = navigation
        self._screens = screens
        self._session = SqlSession()

    def open(self) -> None:
        """Open the SQL screen."""
        from tui.screens.dialogs.sql import SqlScreen  # noqa: PLC0415 - the editor is slow to import

        self._screens.push_screen(SqlScreen(self._state.data, self._session), self.go_to_row)

    def go_to_row(self, target: RowTarget | None) -> None:
        """Go to the event, and to the document if a history is shown, of a result row."""
        if target is None:
            return
        self._navigation.go(target.offset)
        if target.key is not None and self._state.data.history is not None:
            self._state.select_document(target.key)
