"""Fuzzed inputs: mutations of small real ones, in every format and notation that refold reads."""
