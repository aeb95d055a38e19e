"""The main screen, one module for each topic."""
