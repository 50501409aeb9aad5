"""Forward passes beside PyTorch's: ``python -m benchmarks.infer models/lenet/deploy.prototxt --batch 1``."""

import sys

from .compare import run
from .task import parse_task

if __name__ == "__main__":
    sys.exit(run(*parse_task("infer", default_batch=1)))
