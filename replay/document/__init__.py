"""JSON documents: paths into them, differences between them, and paging through their changes."""
