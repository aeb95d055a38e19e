"""Hostile handlers and programs, and canaries that notice if one of them gets out."""
