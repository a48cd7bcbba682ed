"""Loggers: the run's own CSV file, and figures for any logger that takes them."""
