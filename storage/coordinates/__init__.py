"""Offsets and labels of events: pure values without a workspace."""
