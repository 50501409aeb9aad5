"""Which rows the page has: nets, modes, precisions, batches and peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .peers import BOTH, peers_of
from .task import Task

TRAIN_BATCHES = {
    "lenet": 64,
    "cifar10_quick": 100,
    "cifar10_full": 100,
    "caffenet": 32,
    "googlenet": 16,
    "resnet50": 16,
    "mobilenet_v1": 16,
    "vgg16": 8,
}
INFER_BATCHES = (1, 32)
QUICK_PEERS = {"eager", "onnxruntime", "openvino"}


def list_tasks(models: Path, *, quick: bool) -> Iterator[Task]:
    """Yield all rows, those of one net and setting after each other."""
    for net, train_batch in TRAIN_BATCHES.items():
        for mode, batches in (("train", (train_batch,)), ("infer", INFER_BATCHES)):
            file = models / net / ("train_val.prototxt" if mode == "train" else "deploy.prototxt")
            for batch in batches:
                for precision in BOTH:
                    for peer in peers_of(mode, precision):
                        if not quick or (peer in QUICK_PEERS and (mode == "train" or peer != "eager")):
                            yield Task(str(file), mode, batch, precision, engine=peer)


def is_wanted(key: str, words: Sequence[str]) -> bool:
    """Whether a row's key has each word as one of its parts; words with commas are lists to choose from."""
    parts = set(key.split("/"))
    return all(parts & set(word.split(",")) for word in words)
