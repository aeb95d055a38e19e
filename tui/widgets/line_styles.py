"""The styles of a pane's lines: component classes of the style sheet, blended into its background."""

from rich.style import Style
from textual.widget import Widget

STYLES = (
    *("cursor", "cursor-blurred", "muted", "name", "text", "number", "truth", "key", "heading"),
    *("added", "changed", "removed", "was", "failed", "mark", "match"),
)


class LineStyles:
    """The styles of one pane, computed once."""

    def __init__(self, pane: Widget) -> None:
        self._pane = pane
        self._styles: dict[str, Style] = {}
        self._backgrounds: dict[str, Style] = {}

    def forget(self) -> None:
        """Read the style sheet again."""
        self._styles = {}
        self._backgrounds = {}

    def background(self, name: str = "") -> Style:
        """Return the background of a line of a style."""
        if name not in self._backgrounds:
            self._backgrounds[name] = self._pane.rich_style + self.style(name)
        return self._backgrounds[name]

    def style(self, name: str) -> Style:
        """Return a style, with transparent colours blended into the pane's background."""
        if not name:
            return Style()
        if name not in self._styles:
            styles = self._pane.get_component_styles(f"line--{name}")
            ground = self._pane.background_colors[1]
            back = ground + styles.background if styles.has_rule("background") else None
            fore = None
            if styles.auto_color:
                under = back or ground
                fore = under + under.get_contrast_text(styles.color.a)
            elif styles.has_rule("color"):
                fore = (back or ground) + styles.color
            self._styles[name] = styles.text_style + Style(
                color=fore.rich_color if fore else None, bgcolor=back.rich_color if back else None
            )
        return self._styles[name]
