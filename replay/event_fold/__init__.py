"""From events to a history: send the log to the workers and write every change that they report."""
