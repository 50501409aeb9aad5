"""Where nets run that do not say so themselves: Caffe's mode, one for the process."""

from __future__ import annotations

from . import _core as core

_mode = "cpu"


def set_mode_cpu() -> None:
    """Run nets on the CPU that are built from now on. It is the default."""
    global _mode
    _mode = "cpu"


def set_mode_gpu() -> None:
    """Run nets on the GPU that are built from now on.

    Raises
    ------
    DeviceError
        There is no GPU that can be used, or this build has no GPU part; `caffe doctor` says more.

    Notes
    -----
    Caffe switches nets that exist already; here a net stays where it was built.
    """
    global _mode
    core.use_accelerator()
    _mode = "cuda"


def set_device(device: int) -> None:
    """Choose the GPU, counted from 0, before anything runs there.

    Raises
    ------
    DeviceError
        The process uses another one already.
    """
    core.choose_accelerator(device)


def gpu_stream() -> int:
    """Handle of the CUDA stream on which nets run, for packages that take one.

    Raises
    ------
    DeviceError
        There is no GPU that can be used.

    Examples
    --------
    ``torch.cuda.ExternalStream(caffe.gpu_stream())``
    """
    return core.stream()


def default_device() -> str:
    """Where nets are built: "cpu" or "cuda"."""
    return _mode
