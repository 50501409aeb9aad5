"""Forward passes beside other engines: ``python -m benchmarks.infer models/lenet/deploy.prototxt``."""

import sys

from .single import run
from .task import parse_task

if __name__ == "__main__":
    sys.exit(run(*parse_task("infer", default_batch=1)))
