"""The event log, its formats and sources, and the workspace file.

The lowest layer: it imports none of the others, and it never runs a user's code.
"""
