"""Checks of a projection: determinism, isolation, probes, and the worker protocol."""
