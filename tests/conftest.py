"""Settings of all tests; being here, it also makes tests/golden.py importable."""

from hypothesis import HealthCheck, settings

# The same examples in every run, however slow the machine is: no check looks at the clock.
settings.register_profile(
    "autoassign",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("autoassign")
