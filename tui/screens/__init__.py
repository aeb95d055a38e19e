"""The screens: travelling through a log, and the help over it."""
