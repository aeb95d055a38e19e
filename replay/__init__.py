"""Folds events into states: projections, workers, histories, forks, and questions about them."""
