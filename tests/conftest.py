"""Settings for all tests; this file also makes the folder `helpers` importable."""

import os

from hypothesis import settings

# Threads that wait for each other on a busy machine would multiply the time of small layers.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")
