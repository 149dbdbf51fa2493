"""Statistics and the log of operations."""
