"""Settings for all tests: `helpers` is importable, and Hypothesis always draws the same examples."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")
