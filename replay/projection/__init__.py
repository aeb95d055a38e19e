"""The user's projection: which file it is, and what it declares."""
