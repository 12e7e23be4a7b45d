"""How a chain runs on executors. Knows Arrow and Spark, no tables by name."""
