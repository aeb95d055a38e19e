"""Repositories of what folds leave in the workspace: changes, documents, failures, calls and totals."""
