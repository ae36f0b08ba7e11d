"""Settings of all tests; being here, it also makes tests/golden.py importable."""

from hypothesis import settings

# The same examples in every run, however slow the machine is.
settings.register_profile("autoassign", deadline=None, derandomize=True)
settings.load_profile("autoassign")
