"""Finished runs as something to look at."""
