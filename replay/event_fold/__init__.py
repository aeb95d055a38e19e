"""From events to a history: run the worker over the log and write each change."""
