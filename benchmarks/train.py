"""Training steps beside PyTorch's: ``python -m benchmarks.train models/lenet/train_val.prototxt``."""

import sys

from .single import run
from .task import parse_task

if __name__ == "__main__":
    sys.exit(run(*parse_task("train", default_batch=16)))
