"""Sweeps: one fork per value of a parameter or per dropped event, folded without being saved."""
