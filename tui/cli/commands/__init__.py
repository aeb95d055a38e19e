"""The commands, one module for each group that shares code."""
