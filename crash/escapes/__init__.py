"""Hostile handlers and programs, and canaries that detect if one gets out of the sandbox."""
