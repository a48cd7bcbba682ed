"""Fuzzing: hypothesis with the same examples every time, and no deadline but the test's own."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fuzz", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False, database=None
)
settings.load_profile("fuzz")
