"""Import and export of recordings, in the file formats of other tools."""
