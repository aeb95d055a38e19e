"""Figures, each a ratio against a named baseline in the same run. `make bench` prints them all.

Nothing here is a test: no suite asserts a time.
"""
