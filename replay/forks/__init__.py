"""Forks: build edits, fold only the documents that differ from the parent, merge and sweep forks."""
