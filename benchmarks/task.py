"""What is to be measured, in a form that travels to other processes."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Literal

from .peers import PEERS, peers_of


@dataclasses.dataclass(frozen=True)
class Task:
    """One net in one setting.

    Attributes
    ----------
    net : str
        Path of the prototxt: train_val for training, deploy for inference.
    mode : {"train", "infer"}
    batch : int
        Images a step.
    precision : {"float32", "bfloat16"}
        Of activations and matrix operands; weights stay float32 in training.
    engine : str
        Who runs it: "ours" or one of `PEERS`.
    shape : tuple of int, optional
        (C, H, W) of an image; that of the deploy.prototxt beside the net, cropped, when not given.
    dropout : bool
        Whether Dropout layers drop; off to compare losses.
    device : {"cpu", "cuda", "emulated"}
        Where it runs. "emulated" rehearses: ours on the emulated GPU, its peers on the CPU.
    """

    net: str
    mode: Literal["train", "infer"]
    batch: int
    precision: Literal["float32", "bfloat16"] = "float32"
    engine: str = "ours"
    shape: tuple[int, ...] | None = None
    dropout: bool = True
    device: Literal["cpu", "cuda", "emulated"] = "cpu"

    @property
    def our_device(self) -> str:
        """The device as this package calls it."""
        return "cpu" if self.device == "cpu" else "cuda"

    @property
    def peers_device(self) -> str:
        """The device as PyTorch calls it."""
        return "cuda" if self.device == "cuda" else "cpu"

    @property
    def name(self) -> str:
        """Short name of the net: its folder, or its file if that folder holds the models."""
        path = Path(self.net)
        return path.parent.name or path.stem

    def to_json(self) -> str:
        """Write as one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def run_by(self, engine: str) -> Task:
        """The same for another engine."""
        return dataclasses.replace(self, engine=engine)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all comparisons share."""
    parser.add_argument("--threads", type=int, default=2, help="threads of each contender")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of blocks to time")
    parser.add_argument(
        "--seconds", type=float, default=45, help="when they are over, two thirds of the pairs are enough"
    )
    parser.add_argument(
        "--no-gate", dest="gate", action="store_false", help="keep pairs of a busy machine, too"
    )


def parse_task(mode: Literal["train", "infer"], default_batch: int) -> tuple[Task, argparse.Namespace]:
    """Read the command line of `benchmarks.train` and `benchmarks.infer`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{mode}")
    parser.add_argument("net", help="train_val prototxt" if mode == "train" else "deploy prototxt")
    parser.add_argument("--batch", type=int, default=default_batch, help="images a step")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--shape", type=_parse_shape, help="image as C,H,W if no deploy.prototxt tells it")
    parser.add_argument(
        "--peer", nargs="+", choices=[*PEERS], help="who to compare with (default: all that can)"
    )
    add_run_options(parser)
    options = parser.parse_args()
    options.peer = options.peer or peers_of(mode, options.precision)
    return Task(options.net, mode, options.batch, options.precision, shape=options.shape), options


def _parse_shape(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(","))
