"""What `transform_param` asks for: decode, crop, mirror, subtract the mean, scale.

The arithmetic is one call into C++ for a whole batch; here are the rules, the image decoder and the draws.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from .. import _core
from ..errors import ConfigError
from ..fields import Fields
from .counter_random import draw_below
from .decode import decode_image
from .lmdb_database import Database
from .mean_file import read_mean

log = logging.getLogger("caffe")

TRAIN = 0  # as in the schema's enum Phase

TRANSFORM = Fields(
    (
        "scale", "mirror", "crop_size", "crop_h", "crop_w", "mean_file", "mean_value", "force_color",
        "force_gray",
    ),
    {
        "use_gpu_transform": "chooses where images are transformed, not how",
        "random_seed": "crops and mirrors are functions of the net's seed",
        "display": "shows the images",
        "debug_params": "prints what was drawn",
        "min_scaling_factor": "the fork does not read it either",
        "max_scaling_factor": "the fork does not read it either",
    },
)  # fmt: skip
"""TransformationParameter."""

Sizes = int | npt.NDArray[np.int64]


class Crops(NamedTuple):
    """Where each image of a batch is cut, and whether it is flipped; three arrays of one entry an image."""

    h_off: npt.NDArray[np.int32]
    w_off: npt.NDArray[np.int32]
    mirror: npt.NDArray[np.int32]


class Transformer:
    """Turns stored images into what a net reads.

    ``y(c, h, w') = (image(c, h_off + h, w_off + w) - mean) * scale``; ``w' = width - 1 - w`` if mirrored.

    Parameters
    ----------
    transform_param : TransformationParameter
        Message of the schema.
    phase : int
        0 TRAIN, 1 TEST. In TRAIN crops are drawn at random, in TEST they are central. Mirroring is random in
        both, as in Caffe.
    seed : int
        Crops and mirrors are functions of the seed and the record's counter alone.
    color : bool, optional
        Decode to three channels or to one; as `transform_param` says when not given.
    resize : (int, int), optional
        Height and width to resize decoded images to.

    Raises
    ------
    ConfigError
        `mean_file` together with `mean_value`, `force_color` together with `force_gray`, or only one of
        `crop_h` and `crop_w` without `crop_size`.
    DataError
        The mean file cannot be read.

    Notes
    -----
    Images decode to 8-bit BGR. With `force_color` or `force_gray` a JPEG's EXIF orientation is applied (as
    OpenCV 3.1 and later do, and the Caffe built on it); without either, images come as they are stored.
    Caffe's draws come from a Mersenne twister in the order of the images; these do not, so crops are equally
    distributed but not the same.
    """

    def __init__(
        self,
        transform_param: Any,
        phase: int,
        seed: int = 0,
        *,
        color: bool | None = None,
        resize: tuple[int, int] | None = None,
    ) -> None:
        self._phase = phase
        self._seed = seed
        self.scale = float(transform_param.scale)
        self.mirror = bool(transform_param.mirror)
        self.crop = _crop(transform_param)
        self._decode_flag = _decode_flag(transform_param, color)
        self._resize = resize
        self._mean_values = np.asarray(list(transform_param.mean_value), dtype=np.float32)
        # The mean image in the order of axes of raw records, and in that of decoded images.
        self._mean_planar = _read_mean_image(transform_param)
        self._mean_interleaved = None
        if self._mean_planar is not None:
            self._mean_interleaved = np.ascontiguousarray(self._mean_planar.transpose(1, 2, 0))

    @property
    def forces_channels(self) -> bool:
        """Whether images are decoded to a fixed number of channels."""
        return self._decode_flag != cv2.IMREAD_UNCHANGED

    def decoded_size(self, channels: int, height: int, width: int) -> list[int]:
        """Return channels, height and width that a file of this header decodes to, unless it is turned."""
        forced = {cv2.IMREAD_COLOR: 3, cv2.IMREAD_GRAYSCALE: 1}
        return [forced.get(self._decode_flag, channels), *(self._resize or (height, width))]

    def output_shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape an image of this size gets.

        Raises
        ------
        ConfigError
            The image is smaller than the crop, or the mean does not fit it.
        """
        size = f"{channels}x{height}x{width} (channels, height, width)"
        if self.crop[0] > height or self.crop[1] > width:
            square = self.crop[0] == self.crop[1]
            crop = f"crop_size {self.crop[0]}" if square else f"a crop of {self.crop[0]}x{self.crop[1]}"
            raise ConfigError(
                f"{crop} is larger than the image of {size}",
                hint="set a smaller transform_param.crop_size, or resize the images",
            )
        if self._mean_planar is not None and self._mean_planar.shape != (channels, height, width):
            mean = "x".join(map(str, self._mean_planar.shape))
            raise ConfigError(
                f"mean_file is of {mean}, the images are of {size}",
                hint="make the mean of this database: compute_image_mean; or give mean_value",
            )
        if self._mean_values.size not in (0, 1, channels):
            raise ConfigError(
                f"{self._mean_values.size} mean_value for images of {size}",
                hint="give 1 mean_value"
                + (f", or {channels} (in the order blue, green, red)" if channels > 1 else ""),
            )
        return (channels, self.crop[0] or height, self.crop[1] or width)

    def decode(self, file: bytes | memoryview, bit_depth: int = 8) -> npt.NDArray[np.uint8]:
        """Decode an image file, and resize it if that is asked for.

        Parameters
        ----------
        file : bytes-like
            A whole JPEG or PNG file.
        bit_depth : int, default 8
            Bits a channel according to the header.

        Returns
        -------
        ndarray of uint8
            Shape (height, width, channels).

        Raises
        ------
        ValueError
            The image is damaged or not of 8 bits a channel.
        """
        if bit_depth > 8 and not self.forces_channels:
            raise ValueError(
                f"image has {bit_depth} bits a channel, not 8; set force_color or force_gray to convert"
            )
        image = decode_image(file, self._decode_flag)
        if self._resize:
            image = np.asarray(
                cv2.resize(image, self._resize[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8
            )
        return image if image.ndim == 3 else image[:, :, None]

    def draw_crops(self, counters: npt.NDArray[np.int64], heights: Sizes, widths: Sizes) -> Crops:
        """Choose crop and mirror of images with these record counters and sizes: one, or one an image."""
        zeros: npt.NDArray[Any] = np.zeros(len(counters), dtype=np.int32)
        h_off = w_off = mirror = zeros
        if self.mirror:
            mirror = draw_below(2, self._seed, counters, 0)
        if any(self.crop):
            spare_h, spare_w = (
                np.maximum(np.subtract(sizes, crop), 0) for sizes, crop in zip((heights, widths), self.crop)
            )
            if self._phase == TRAIN:
                h_off = draw_below(spare_h + 1, self._seed, counters, 1)
                w_off = draw_below(spare_w + 1, self._seed, counters, 2)
            else:
                h_off, w_off = h_off + spare_h // 2, w_off + spare_w // 2
        return Crops(*(numbers.astype(np.int32, copy=False) for numbers in (h_off, w_off, mirror)))

    def transform(
        self, items: list[Any], crops: Crops, out: npt.NDArray[np.float32], first: int = 0
    ) -> list[tuple[int, str]]:
        """Write images into a batch.

        Parameters
        ----------
        items : list
            Datum records as bytes-like objects, or decoded images as `decode` returns them.
        crops : Crops
            One entry an image of the batch.
        out : ndarray of float32
            The batch, of logical shape (N, C, H, W), any strides.
        first : int, default 0
            Place of the first item in the batch.

        Returns
        -------
        list of (int, str)
            Index of each item that does not fit, and why.
        """
        problems: list[tuple[int, str]] = _core.transform_batch(
            items, out, *crops, first=first, **self._arithmetic(out.shape[1])
        )
        return problems

    def transform_stored(
        self,
        database: Database,
        places: npt.NDArray[np.uint64],
        size: tuple[int, int, int],
        crops: Crops,
        out: npt.NDArray[np.float32],
        labels: npt.NDArray[np.float32],
    ) -> bool:
        """Write records into a batch, straight from their database.

        Parameters
        ----------
        database : Database
        places : ndarray of uint64
            Where the records are, from `Reader.locate`.
        size : tuple of int
            (C, H, W) that all images must have.
        crops : Crops
            One entry a record.
        out : ndarray of float32
            The batch, as for `transform`.
        labels : ndarray of float32
            Gets the labels.

        Returns
        -------
        bool
            False if a record is bad, encoded or of another size; the batch is then of no use.
        """
        arithmetic = self._arithmetic(out.shape[1])
        done: bool = _core.transform_stored(database.file, places, size, out, labels, *crops, **arithmetic)
        return done

    def _arithmetic(self, channels: int) -> dict[str, Any]:
        """Scale and means, as the functions in C++ want them."""
        values = self._mean_values
        if values.size != channels:
            values = np.full(channels, values[0] if values.size else 0, dtype=np.float32)
        return {
            "scale": self.scale,
            "mean_values": values,
            "mean_planar": self._mean_planar,
            "mean_interleaved": self._mean_interleaved,
        }


def _crop(param: Any) -> tuple[int, int]:
    """Height and width that images are cut to, 0 for all: each its own field, or that of both."""
    height, width = (int(size or param.crop_size) for size in (param.crop_h, param.crop_w))
    if bool(height) != bool(width):
        given, missing = ("crop_h", "crop_w") if height else ("crop_w", "crop_h")
        raise ConfigError(
            f"transform_param has {given} without {missing}", hint=f"set transform_param.{missing} too"
        )
    return height, width


def _decode_flag(param: Any, color: bool | None) -> int:
    if color is not None:
        return int(cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE)
    if param.force_color and param.force_gray:
        raise ConfigError("transform_param has both force_color and force_gray", hint="remove one of them")
    if param.force_color:
        return int(cv2.IMREAD_COLOR)
    return int(cv2.IMREAD_GRAYSCALE if param.force_gray else cv2.IMREAD_UNCHANGED)


def _read_mean_image(param: Any) -> npt.NDArray[np.float32] | None:
    if not param.mean_file:
        return None
    if len(param.mean_value):
        raise ConfigError("transform_param has both mean_file and mean_value", hint="remove one of them")
    log.info("Loading mean file from: %s", param.mean_file)
    return read_mean(param.mean_file)
