"""ImageData: batches of images from files that a list names."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _core as core
from ..data.image_list import read_image_list
from ..data.listed_images import ListedImages
from ..data.loader import DataLoader, image_loader
from ..data.order import Order
from ..data.transformer import TRANSFORM, Transformer
from ..facts import Top
from ..layer_type import Shape, check_constraints
from ..prototxt.definition import LayerDefinition
from ..rules import Rule
from .data_layer import (
    MOST_PREFETCH,
    DataLayer,
    DataLayerType,
    bad_record_policy,
    check_rand_skip,
    check_source,
)

# Whether an image has colour is said by is_color.
_TRANSFORM = tuple(name for name in TRANSFORM.within("transform_param") if ".force_" not in name)
_MOST_SIDE, _MOST_PIXELS = 32768, 64 << 20  # as of images themselves


class ImageData(DataLayerType):
    """Read batches of images and labels from files that a list names, prepared ahead by background threads.

    Parameters
    ----------
    source : str
        List file, relative to the working directory: ``<path> <label>`` a line, split at the last blank.
    root_folder : str, default ""
        Put before each path as it is; end it with a slash.
    batch_size : int >= 1, default 1
        N, the number of images in a batch.
    shuffle : bool, default false
        Take the images of each pass in a new random order.
    rand_skip : int >= 0, default 0
        Begin at a random one of the first so many images, in their order after shuffling.
    new_height, new_width : int >= 0 and <= 32768, default 0
        Size to resize to, both or neither; not keeping the aspect ratio.
    is_color : bool, default true
        Three channels (B, G, R), or one.
    threads : int >= 1 and <= 64, default 1
        Threads that read and decode (NVIDIA's field, where the default is 4). The batches are the same.
    data_param.prefetch : int >= 1 and <= 1024, default 4
        Batches made ahead.
    transform_param : TransformationParameter
        Crop, mirror, mean and scale: ``(pixel - mean) * scale``.

    Returns
    -------
    data
        (N, C, H, W), channels-last in memory. The shape follows the first image of each batch.
    label
        (N,)

    Raises
    ------
    ConfigError
        If source is missing, a line of the list has no label, one of new_height and new_width is missing, or
        the transformation does not fit.
    DataError
        If the list is missing or empty, or an image is missing, damaged or neither JPEG nor PNG; the message
        names the list's line. With the environment variable CAFFE_ON_BAD_RECORD=skip bad images are counted,
        logged and replaced by the next one of the list, up to 1 % of them.

    Notes
    -----
    Images start again after the last. Shuffles, crops and mirrors are functions of the net's seed and of the
    number of images delivered, so that a resumed run goes on with the same batches. Resizing is bilinear,
    without smoothing before. A label that is not a number is an error; Caffe takes 0.

    References
    ----------
    List, order, resizing and transformation as in Caffe's ImageData layer.

    Examples
    --------
    ::

        layer {
          name: "data" type: "ImageData" top: "data" top: "label" include { phase: TRAIN }
          transform_param { crop_size: 227 mirror: true mean_value: 104 mean_value: 117 mean_value: 123 }
          image_data_param {
            source: "data/train.txt" root_folder: "data/pictures/" batch_size: 64
            new_height: 256 new_width: 256 shuffle: true
          }
        }
    """

    type = "ImageData"
    param = "image_data_param"
    fields = (
        "source", "root_folder", "batch_size", "shuffle", "rand_skip", "new_height", "new_width", "is_color",
        "data_param.prefetch", *_TRANSFORM,
    )  # fmt: skip
    ignored = {
        **dict.fromkeys(("threads", "cache", "precache"), "tunes speed only"),
        **TRANSFORM.ignored_within("transform_param"),
    }
    tops = (Top("data"), Top("labels", exact=True))
    layout = "channels_last"
    constraints = {
        "batch_size": Rule(1),
        "new_height": Rule(0, _MOST_SIDE),
        "new_width": Rule(0, _MOST_SIDE),
        "threads": Rule(1, 64),
    }

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        check_constraints(layer, "data_param", {"prefetch": Rule(1, MOST_PREFETCH)})
        check_source(layer, cls.param, "a list file")
        param = layer.message.image_data_param
        size = param.new_height, param.new_width
        if 0 in size and size != (0, 0):
            given = "new_height" if param.new_height else "new_width"
            raise layer.error(f"{given} {max(size)} is given alone", cls.param, given, hint="give both sizes")
        if size[0] * size[1] > _MOST_PIXELS:
            raise layer.error(
                f"new_height times new_width must be at most {_MOST_PIXELS}, got {size[0]} x {size[1]}",
                cls.param, "new_height",
            )  # fmt: skip

    @classmethod
    def start(cls, layer: LayerDefinition, bottoms: Sequence[Shape], device: str, seed: int) -> core.Layer:
        """See `LayerType.start`."""
        param = layer.message.image_data_param
        images = read_image_list(param.source)
        check_rand_skip(layer, cls.param, len(images.images))
        resize = (param.new_height, param.new_width) if param.new_height else None

        def open_loader(seed: int, record: int) -> DataLoader:
            order = Order(len(images.images), seed, shuffle=param.shuffle, rand_skip=param.rand_skip)
            return image_loader(
                ListedImages(images, param.root_folder, order),
                Transformer(
                    layer.message.transform_param,
                    layer.message.phase,
                    seed,
                    color=param.is_color,
                    resize=resize,
                ),
                param.batch_size,
                prefetch=layer.message.data_param.prefetch,
                threads=param.threads if param.HasField("threads") else 1,
                start_record=record,
                on_bad_record=bad_record_policy(),
            )

        return DataLayer(layer, seed, open_loader)
