"""The user's projection: the reference that names its code, and what it declares."""
