"""One workload a file: its contenders, its trials, its table."""
