"""Databases as sources: `tables` decides what is read of one, the other modules know one kind each."""
