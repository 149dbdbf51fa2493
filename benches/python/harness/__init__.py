"""The harness of the Python benchmarks: candidates, rows, clocks and tables."""
