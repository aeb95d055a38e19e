"""Timelines: forks, their edits, and the workspace with the edits of a fork applied."""
