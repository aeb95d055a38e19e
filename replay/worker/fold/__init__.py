"""Folding in the worker: the projection's contract in, documents out."""
