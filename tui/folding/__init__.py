"""Folds that the screen starts in the background, and file watching."""
