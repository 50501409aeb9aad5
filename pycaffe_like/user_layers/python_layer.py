"""`Layer`, the base class of layers that users write in Python."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from .. import _core as core
from ..weights.blobs import blobproto_to_array


class Phase(enum.IntEnum):
    """Phase of a net: equal to the numbers TRAIN and TEST, and printed as these words."""

    TRAIN = 0
    TEST = 1

    def __str__(self) -> str:
        return self.name


class BlobVec(list[core.Blob]):
    """Learned blobs of a layer, on its device."""

    device = "cpu"

    def add_blob(self, *dims: int) -> None:
        """Append a blob of this shape, filled with zeros."""
        self.append(core.Blob(dims, device=self.device))

    def move(self, device: str) -> None:
        """Keep the blobs on this device from now on, with the values they have."""
        self.device = device
        for index, blob in enumerate(self):
            self[index] = core.Blob(blob.shape, device=device)
            self[index].data[...] = blob.data


class Layer(ABC):
    """Base class of the layers that nets name with ``type: "Python"``.

    Parameters
    ----------
    layer_param : LayerParameter
        The layer's message. A class with an ``__init__`` of its own takes it and hands it on.

    Attributes
    ----------
    param_str : str
        Text of the net's file for this layer; `param_str_` is an old name of it.
    phase : Phase
        TRAIN or TEST.
    blobs : BlobVec
        Learned blobs; ``self.blobs.add_blob(3, 4)`` in `setup` adds one.

    Notes
    -----
    A class with ``forward_gpu(bottom, top)`` or ``backward_gpu(top, propagate_down, bottom)`` runs on the GPU
    in a net that does: these methods run there in place of `forward` and `backward`, and compute on the
    blobs' ``gpu_data`` and ``gpu_diff``.
    """

    type: ClassVar[str] = "Python"

    def __init__(self, layer_param: Any) -> None:
        self.param_str = self.param_str_ = str(layer_param.python_param.param_str)
        self.phase = Phase(layer_param.phase)
        self.blobs = BlobVec(map(_make_blob, layer_param.blobs))

    def setup(self, bottom: list[core.Blob], top: list[core.Blob]) -> None:  # noqa: B027, it may be left out
        """Prepare, once: read `param_str`, add learned blobs, check the bottoms."""

    @abstractmethod
    def reshape(self, bottom: list[core.Blob], top: list[core.Blob]) -> None:
        """Give the tops their shapes: ``top[0].reshape(n, c, h, w)``; after `setup` and before `forward`."""

    @abstractmethod
    def forward(self, bottom: list[core.Blob], top: list[core.Blob]) -> None:
        """Compute the tops' data: ``top[0].data[...] = ...``."""

    def backward(self, top: list[core.Blob], propagate_down: list[bool], bottom: list[core.Blob]) -> None:
        """Overwrite the diffs of bottoms whose `propagate_down` is set; add to those of `blobs`."""
        if any(propagate_down) or self.blobs:
            raise NotImplementedError(
                f"{type(self).__name__} has no backward(self, top, propagate_down, bottom), "
                "but gradients are asked for"
            )


def _make_blob(proto: Any) -> core.Blob:
    values = blobproto_to_array(proto)
    blob = core.Blob(values.shape)
    blob.data[...] = values
    return blob
