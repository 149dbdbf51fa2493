"""The filesystem and its files."""
