"""Who is compared with: how each is called, what it can run, and the module that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

BOTH = ("float32", "bfloat16")


@dataclass(frozen=True)
class Peer:
    """One way to run a net.

    Attributes
    ----------
    title : str
        Name in tables.
    module : str
        Module of this package with its `make_engine`.
    package : str
        What is installed, for its version.
    train, infer : tuple of str
        Precisions it has in each mode.
    whole : bool
        Whether it runs the whole net, so that results can be compared.
    """

    title: str
    module: str
    package: str
    train: tuple[str, ...] = ()
    infer: tuple[str, ...] = ()
    whole: bool = True

    @property
    def version(self) -> str:
        """Title with the version that is installed."""
        try:
            return f"{self.title} {metadata.version(self.package)}"
        except metadata.PackageNotFoundError:
            return f"{self.title} (not installed)"

    def precisions(self, mode: str) -> tuple[str, ...]:
        """Precisions in `mode`."""
        return self.train if mode == "train" else self.infer


PEERS = {
    "eager": Peer("PyTorch", "engine_torch", "torch", BOTH, BOTH),
    "compile": Peer("torch.compile", "engine_torch", "torch", BOTH, BOTH),
    "onnxruntime": Peer("ONNX Runtime", "engine_onnx", "onnxruntime", infer=("float32",)),
    "openvino": Peer("OpenVINO", "engine_onnx", "openvino", infer=BOTH),
    "opencv": Peer("OpenCV", "engine_onnx", "opencv-python-headless", infer=("float32",)),
    "im2col": Peer("im2col + sgemm", "engine_im2col", "numpy", ("float32",), ("float32",), whole=False),
}

GPU_PEERS = {
    "graph": Peer("PyTorch, CUDA graph", "engine_torch", "torch", BOTH),
}
"""Those that exist on a GPU only; the others of PyTorch run there, too."""


def find_peer(name: str) -> Peer:
    """The peer of that name, on whatever device."""
    return {**PEERS, **GPU_PEERS}[name]


def peers_of(mode: str, precision: str) -> list[str]:
    """Names of the peers that run this."""
    return [name for name, peer in PEERS.items() if precision in peer.precisions(mode)]


def checked_as(engine: str) -> str:
    """The engine whose results stand for those of `engine`: compiled or not, PyTorch computes the same."""
    return "eager" if engine in ("compile", "graph") else engine
