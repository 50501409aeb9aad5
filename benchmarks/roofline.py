"""Steps of a net beside the peaks: ``python -m benchmarks.roofline models/<net>/train_val.prototxt``.

The table of ``caffe time -roofline``, with the inputs of the benchmarks: no database is needed, and memory is
planned as for training.
"""

from __future__ import annotations

import argparse

from pycaffe_like.roofline import Machine, roofline, table
from pycaffe_like.tools.time_net import measure

from .engine_ours import OurNet
from .task import Task


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline")
    parser.add_argument("net", help="train_val or deploy prototxt")
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--batch", type=int, default=16, help="images a step")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--iterations", type=int, default=10)
    options = parser.parse_args()
    net = OurNet(Task(options.net, options.mode, options.batch, options.precision)).net
    times = measure(net, options.iterations, backward=options.mode == "train")
    machine = Machine.measure(net.memory().total)
    print(*table(roofline(net, times, machine), machine), sep="\n")


if __name__ == "__main__":
    main()
