"""The panes of the screens. A pane shows what it is given, and posts messages about what was chosen."""
