"""Redis: a view of the log, never the record."""
