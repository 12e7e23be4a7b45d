"""Invented financial reports: what the demo and the benchmarks summarize."""
