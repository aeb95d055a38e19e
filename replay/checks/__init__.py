"""Checks of a projection: determinism and the worker protocol."""
