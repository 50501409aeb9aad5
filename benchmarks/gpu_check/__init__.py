"""All that a GPU can show of this project in one run: ``python -m benchmarks.gpu_check``."""
