"""Layers that users write in Python: their base class, and whose code may run."""
