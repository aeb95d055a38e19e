"""Two histories side by side."""
