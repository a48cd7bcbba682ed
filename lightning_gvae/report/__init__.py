"""The record of a run for its reader: ``run.json`` and ``report.html``."""
