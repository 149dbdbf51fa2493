"""What is in memory and what is not."""
