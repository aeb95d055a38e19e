"""Offsets, positions and labels of events: pure values that need no workspace."""
