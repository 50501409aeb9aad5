"""Data: batches of images from an LMDB database."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _core as core
from ..data.database_images import DatabaseImages
from ..data.lmdb_database import check_backend, open_database
from ..data.loader import DataLoader, image_loader
from ..data.order import Order
from ..data.transformer import TRANSFORM, Transformer
from ..errors import ConfigError
from ..facts import Top
from ..layer_type import Shape
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


class Data(DataLayerType):
    """Read batches of images and labels from a database, prepared ahead by background threads.

    Parameters
    ----------
    source : str
        Folder of the database, relative to the working directory.
    batch_size : int >= 1
        N, the number of records in a batch.
    backend : {LEVELDB, LMDB}, default LEVELDB
        Must be given as LMDB: the default is Caffe's, but LevelDB databases cannot be read.
    prefetch : int >= 1 and <= 1024, default 4
        Batches made ahead.
    shuffle : bool, default false
        Take the records of each pass in a new random order (NVIDIA's, Intel's and TSN's field).
    rand_skip : int >= 0, default 0
        Begin at a random one of the first so many records.
    force_encoded_color : bool, default false
        Decode encoded images to three channels; older form of ``transform_param.force_color``.
    threads : int >= 0, default 0
        Threads that decode and transform (NVIDIA's field); 0 makes one. The batches are the same.
    transform_param : TransformationParameter
        Crop, mirror, mean and scale: ``(pixel - mean) * scale``; force_color and force_gray. Besides
        `crop_size`, the height `crop_h` and the width `crop_w`.

    Returns
    -------
    data
        (N, C, H, W), channels-last in memory. The shape follows the first image of each batch.
    label
        (N,); left out if there is no second top.

    Raises
    ------
    ConfigError
        If source or batch_size are missing, the backend is not LMDB, or the transformation does not fit.
    DataError
        If the database or a record is damaged; the message names database and key. With the environment
        variable CAFFE_ON_BAD_RECORD=skip bad records are counted, logged and replaced by the next one, up to
        1 % of them.

    Notes
    -----
    Records come in key order, unless they are shuffled, and start again after the last. Shuffles, crops and
    mirrors are functions of the net's seed and of the number of records delivered, so that a resumed run goes
    on with the same batches. To shuffle, the layer keeps all keys: some 100 bytes a record. Caffe 1.0 ignores
    rand_skip.

    References
    ----------
    Records, order and transformation as in Caffe's Data layer.

    Examples
    --------
    ::

        layer {
          name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
          transform_param { scale: 0.00390625 }
          data_param { source: "data/fashion-mnist_train_lmdb" batch_size: 64 backend: LMDB }
        }
    """

    type = "Data"
    param = "data_param"
    fields = (
        "source", "batch_size", "backend", "prefetch", "shuffle", "rand_skip", "force_encoded_color",
        *TRANSFORM.within("transform_param"),
    )  # fmt: skip
    ignored = {
        **dict.fromkeys(
            ("threads", "parser_threads", "cache", "precache", "disk_reader_threads"), "tunes speed only"
        ),
        "verbose": "prints what is read",
        **TRANSFORM.ignored_within("transform_param"),
    }
    tops = (Top("data"), Top("labels", exact=True, least=0))
    layout = "channels_last"
    constraints = {"batch_size": Rule(1, required=True), "prefetch": Rule(1, MOST_PREFETCH)}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        check_source(layer, "data_param", "a database folder")
        param = layer.message.data_param
        try:
            check_backend(param.DB.Name(param.backend))
        except ConfigError as error:
            hint = (
                error.hint
                if param.HasField("backend")
                else "set data_param.backend: LMDB (the default is LEVELDB)"
            )
            raise layer.error(error.problem, "data_param", "backend", hint=hint) from None

    @classmethod
    def start(cls, layer: LayerDefinition, bottoms: Sequence[Shape], device: str, seed: int) -> core.Layer:
        """See `LayerType.start`."""
        param = layer.message.data_param
        database = open_database(param.source)
        check_rand_skip(layer, "data_param", len(database))

        def open_loader(seed: int, record: int) -> DataLoader:
            order = Order(len(database), seed, shuffle=param.shuffle, rand_skip=param.rand_skip)
            return image_loader(
                DatabaseImages(database, order),
                Transformer(
                    layer.message.transform_param,
                    layer.message.phase,
                    seed,
                    color=True if param.force_encoded_color else None,
                ),
                param.batch_size,
                prefetch=param.prefetch,
                threads=max(1, param.threads),
                start_record=record,
                with_label=len(layer.tops) > 1,
                on_bad_record=bad_record_policy(),
            )

        return DataLayer(layer, seed, open_loader)
