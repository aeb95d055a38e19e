"""One fork per value of a parameter."""
