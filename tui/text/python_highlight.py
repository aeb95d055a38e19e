"""Syntax colours of Python code, as spans of a pane's lines."""

import io
import keyword
import tokenize
from collections.abc import Iterator, Sequence

from tui.text.span import Span

_TAB = 4


def highlight_lines(lines: Sequence[str]) -> Iterator[tuple[Span, ...]]:
    """Yield the lines with the styles of their tokens; plain lines if the code can't be tokenized."""
    shown = [line.expandtabs(_TAB) for line in lines]
    styles: list[list[tuple[int, int, str]]] = [[] for _ in shown]
    try:
        for token in tokenize.generate_tokens(io.StringIO("\n".join(shown)).readline):
            style = _token_style(token)
            for row in range(token.start[0], token.end[0] + 1) if style else ():
                start = token.start[1] if row == token.start[0] else 0
                end = token.end[1] if row == token.end[0] else len(shown[row - 1])
                styles[row - 1].append((start, end, style))
    except (tokenize.TokenError, SyntaxError, IndexError):
        styles = [[] for _ in shown]
    for line, found in zip(shown, styles, strict=True):
        spans: list[Span] = []
        at = 0
        for start, end, style in found:
            spans += [(line[at:start], ""), (line[start:end], style)]
            at = end
        yield (*(span for span in spans if span[0]), (line[at:], ""))


def _token_style(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.NAME and keyword.iskeyword(token.string):
        return "truth" if token.string in ("None", "True", "False") else "key"
    return {tokenize.STRING: "text", tokenize.NUMBER: "number", tokenize.COMMENT: "muted"}.get(
        token.type, ""
    )
