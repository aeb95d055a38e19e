"""Folds that the screen starts and follows."""
