"""Benchmarks: each figure is a ratio against a named baseline in the same run.

`make bench` prints all of them. They are not tests: no test asserts a time.
"""
