"""The main screen, and one controller for each topic."""
