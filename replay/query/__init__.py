"""Conditions, aggregates and series over histories."""
