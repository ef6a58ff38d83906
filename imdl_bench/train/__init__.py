"""Training: one loop for every model, its records, and recipes."""
