"""Training: the loop, its types and rules, tests, displays and snapshots."""
