"""One JSON state: its paths, its differences and pages of it."""
