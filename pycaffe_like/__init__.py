"""Caffe, reborn: nets and solvers declared in prototxt, planned ahead, run by C++ layers."""

from .device import gpu_stream, set_device, set_mode_cpu, set_mode_gpu
from .layer_type import layer_types as _layer_types
from .net import TEST, TRAIN
from .pycaffe.net import Net
from .pycuda_arrays import pycuda_array, pycuda_context
from .seeds import set_random_seed
from .solver.types import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)
from .user_layers import user_code  # `pycaffe_like.user_code` is documented
from .user_layers.python_layer import Layer

__version__ = "0.1.0"
__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Layer",
    "NesterovSolver",
    "Net",
    "RMSPropSolver",
    "SGDSolver",
    "get_solver",
    "gpu_stream",
    "layer_type_list",
    "pycuda_array",
    "pycuda_context",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
    "user_code",
]


def layer_type_list() -> list[str]:
    """Names of all layer types, sorted."""
    return list(_layer_types())
