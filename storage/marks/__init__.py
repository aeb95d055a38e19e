"""Bookmarks and watches, which a person keeps in the workspace."""
