"""What to ask, and how to read the answer. Knows no Spark."""
