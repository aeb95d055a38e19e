"""A piece of a line of text, with the style in which it is drawn."""

Span = tuple[str, str]
"""Text, and the name of its style (`muted`, `added` …); an empty name is the plain style."""
