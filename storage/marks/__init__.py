"""What a person keeps in the workspace: bookmarks and watches."""
