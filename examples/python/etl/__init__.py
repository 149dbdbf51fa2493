"""The parts of the ETL demo: where the data comes from, its stages, its totals and its report."""
