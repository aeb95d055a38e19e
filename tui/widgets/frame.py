"""The rounded frame around a pane, in the colours of the CSS border, with a text in each edge."""

from collections.abc import Callable

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.widget import Widget

from tui.text.sanitize import sanitize_line, shorten

_LONGEST = 200


class EdgeText:
    """A text in an edge of a pane; it may come from events, so markup has no meaning in it."""

    def __init__(self, edge: Callable[[Widget], int]) -> None:
        """`edge` returns the line of the edge, relative to the content."""
        self._edge = edge
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_edge_text_{name}"

    def __get__(self, pane: Widget, owner: type) -> str:
        text: str = pane.__dict__.get(self._name, "")
        return text

    def __set__(self, pane: Widget, text: str) -> None:
        text = sanitize_line(shorten(text, _LONGEST))
        if text != self.__get__(pane, type(pane)):
            pane.__dict__[self._name] = text
            if not pane.is_attached:
                return  # nothing is drawn yet
            pane.refresh(Region(-1, self._edge(pane), pane.outer_size.width, 1))


class Frame:
    """Draws the frame of one pane."""

    def __init__(self, pane: Widget) -> None:
        self._pane = pane
        self._styles: tuple[Style, Style] | None = None

    def forget_styles(self) -> None:
        """Read the colours again because the style sheet or the theme has changed."""
        self._styles = None

    def top(self, width: int, title: str) -> list[Segment]:
        """Return the upper edge."""
        frame, label = self._edge_styles()
        text = _edge_label(title, width - 6)
        rule = "─" * (width - 3 - cell_len(text))
        return [Segment("╭─", frame), Segment(text, label), Segment(f"{rule}╮", frame)]

    def bottom(self, width: int, subtitle: str) -> list[Segment]:
        """Return the lower edge."""
        frame, label = self._edge_styles()
        text = _edge_label(subtitle, width - 6)
        rule = "─" * (width - 3 - cell_len(text))
        return [Segment(f"╰{rule}", frame), Segment(text, label), Segment("─╯", frame)]

    def around(self, cells: list[Segment], scrollbar_columns: int) -> list[Segment]:
        """Return a line with its parts of the frame, and space for the scrollbar."""
        frame, _ = self._edge_styles()
        return [Segment("│", frame), *cells, Segment(f"{' ' * scrollbar_columns}│", frame)]

    def _edge_styles(self) -> tuple[Style, Style]:
        if self._styles is None:
            pane = self._pane
            below, ground = pane.background_colors
            color = pane.styles.border_top[1]
            named = pane.styles.border_title_color
            if pane.styles.auto_border_title_color:
                named = ground.get_contrast_text(named.a)
            back = ground.rich_color
            frame = Style(color=(below + color).rich_color, bgcolor=back)
            label = Style(color=(ground + named).rich_color, bgcolor=back)
            self._styles = frame, label + pane.styles.border_title_style
        return self._styles


def _edge_label(text: str, room: int) -> str:
    if not text or room < 1:
        return ""
    return f" {text if cell_len(text) <= room else set_cell_size(text, room - 1) + '…'} "
