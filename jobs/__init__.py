"""Entry points: read settings, build the pieces, run."""
