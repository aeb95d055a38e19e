"""Timelines: the log itself, and forks of it, which are edits laid over what they were forked from."""
