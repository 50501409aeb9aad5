"""`caffe classify`: shows the most likely classes of images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..data import decode
from ..data.mean_file import read_mean
from ..errors import ConfigError, DataError, MissingFileError, ShapeError
from ..files import read_bytes
from ..net import TEST
from ..pycaffe.net import Net
from .common import CODE, GPU, PLAN, allow_code, plan_options, required, use_device
from .flags import Flag, format_usage, parse_flags

Image = npt.NDArray[np.float32]

SUMMARY = "Show the most likely classes of images."
ARGUMENTS = "classify -model FILE -weights FILE [flags] IMAGE..."
FLAGS = {
    "model": Flag("", "deploy prototxt, with one Input layer"),
    "weights": Flag("", "trained weights"),
    "labels": Flag("", "text file with the name of each class on a line"),
    "mean_file": Flag("", "mean image (.binaryproto), subtracted before scaling"),
    "mean_value": Flag("", "mean of each channel, separated by commas, or one for all; in the order B,G,R"),
    "scale": Flag(1.0, "factor of the values, which are 0 to 255 before"),
    "top": Flag(5, "classes to show for each image"),
    **PLAN,
    **CODE,
    **GPU,
    "help": Flag(False, "show this text"),
}

_MOST_LABEL_BYTES = 64 << 20


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status."""
    flags, images = parse_flags(argv, FLAGS)
    if flags["help"] or not images:
        print(format_usage(SUMMARY, ARGUMENTS, FLAGS))
        return 0
    required(flags, "model", "weights")
    use_device(flags["gpu"])
    allow_code(flags)
    net = Net(flags["model"], TEST, weights=flags["weights"], **plan_options(flags))
    shape = _input_shape(net)
    mean = _read_mean(flags, shape)
    labels = _read_labels(flags["labels"])
    for path in images:
        scores = _scores(net, (read_image(path, shape) - mean) * np.float32(flags["scale"]))
        _show(path, scores, labels, flags["top"])
    return 0


def read_image(path: str, shape: tuple[int, int, int]) -> Image:
    """Read an image as the net takes it.

    Parameters
    ----------
    path : str
    shape : tuple of int
        (C, H, W): one channel makes it grey, three B, G, R.

    Returns
    -------
    ndarray of float32
        Shape (C, H, W), values 0 to 255.
    """
    channels, height, width = shape
    decoded = decode.read_image(path, cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    resized = cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized.reshape(height, width, channels).transpose(2, 0, 1), np.float32)


def _input_shape(net: Net) -> tuple[int, int, int]:
    """Shape of one image; lets the net run on one image at a time."""
    if len(net.inputs) != 1:
        raise ConfigError(
            f"classify needs a net with one input, this one has {len(net.inputs)}: {net.inputs}"
        )
    blob = net.blobs[net.inputs[0]]
    if len(blob.shape) != 4 or blob.shape[1] not in (1, 3):
        raise ShapeError(f"input '{net.inputs[0]}' must be (N, 1 or 3, H, W), it is {tuple(blob.shape)}")
    _, channels, height, width = blob.shape
    blob.reshape(1, channels, height, width)
    net.reshape()
    return channels, height, width


def _read_mean(flags: dict[str, Any], shape: tuple[int, int, int]) -> Image:
    """Make what to subtract, in a shape that fits (C, H, W)."""
    if flags["mean_file"] and flags["mean_value"]:
        raise ConfigError("-mean_file and -mean_value exclude each other")
    if flags["mean_file"]:
        return _fit_mean(read_mean(flags["mean_file"]), shape)
    try:
        values = [float(value) for value in flags["mean_value"].split(",") if value]
    except ValueError:
        raise ConfigError(f"-mean_value must be numbers, got '{flags['mean_value']}'") from None
    if len(values) not in (0, 1, shape[0]):
        raise ConfigError(f"-mean_value needs 1 or {shape[0]} values, got {len(values)}")
    return np.asarray(values or [0.0], np.float32).reshape(-1, 1, 1)


def _fit_mean(mean: Image, shape: tuple[int, int, int]) -> Image:
    """Cut the middle out of a mean image, as training cuts crops out of images."""
    (channels, height, width), (_, mean_height, mean_width) = shape, mean.shape
    if mean.shape[0] != channels or mean_height < height or mean_width < width:
        raise ShapeError(f"the mean image has shape {mean.shape}, the net's input is {shape}")
    top, left = (mean_height - height) // 2, (mean_width - width) // 2
    return mean[:, top : top + height, left : left + width]


def _read_labels(path: str) -> list[str]:
    if not path:
        return []
    try:
        return read_bytes(path, _MOST_LABEL_BYTES).decode(errors="replace").splitlines()
    except FileNotFoundError:
        raise MissingFileError(f"there is no file of labels '{path}'") from None
    except OSError as error:
        raise DataError(f"labels '{path}' cannot be read: {error.strerror}") from None


def _scores(net: Net, image: Image) -> Image:
    net.blobs[net.inputs[0]].data[...] = image
    net.forward()
    return np.array(net.blobs[net.outputs[0]].data, np.float32).ravel()


def _show(path: str, scores: Image, labels: list[str], count: int) -> None:
    print(f"---------- Prediction for {path} ----------")
    for index in np.argsort(-scores, kind="stable")[:count]:
        label = labels[index] if index < len(labels) else str(index)
        print(f'{scores[index]:.4f} - "{label}"')
