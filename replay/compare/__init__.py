"""Comparison of two histories: of two timelines, two projections or two versions of the code."""
