"""Fuzzing: hypothesis with the same examples every time, and no deadline but the test's own."""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "fuzz",
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # an example as it was found: shrinking takes minutes
)
settings.load_profile("fuzz")
