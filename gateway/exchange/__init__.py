"""Recordings as files of other tools: import and export."""
