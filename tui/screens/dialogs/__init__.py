"""Screens on top of the main screen."""
