"""Functions on the filesystem of the process."""
