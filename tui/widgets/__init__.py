"""The panes of the screen. Each shows what it is given and says what was asked of it."""
