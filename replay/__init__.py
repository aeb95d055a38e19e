"""Folding events into states: projections, workers, histories, and travel through them."""
