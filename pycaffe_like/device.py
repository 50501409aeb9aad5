"""Where nets run that do not say so themselves: Caffe's mode, one for the process."""

from __future__ import annotations

from . import _core as core
from .errors import DeviceError

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


def require_room(what: str, needed: int) -> None:
    """Raise DeviceError if the GPU has fewer bytes free than `what` needs, before any is asked for."""
    free, total = core.accelerator_memory(core.chosen_accelerator())
    if needed > free:
        raise DeviceError(
            f"{what} needs {needed} bytes on the GPU, {free} of its {total} bytes are free; "
            "use a smaller batch, -max_memory or -precision bfloat16"
        )


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
