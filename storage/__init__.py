"""What is kept: the event log, its formats and sources, and the workspace file.

Everything above asks this floor; this floor asks nobody. It never runs a person's code.
"""
