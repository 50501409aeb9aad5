"""Data: batches of images from an LMDB database."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Literal, cast

from .. import _core as core
from ..data.lmdb_database import check_backend, open_database
from ..data.loader import DataLoader
from ..data.transformer import TRANSFORM, Transformer
from ..errors import ConfigError
from ..facts import Reads, Top
from ..graph.locate import errors_of_layer
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class Data(LayerType):
    """Read batches of images and labels from a database, prepared ahead by background threads.

    Parameters
    ----------
    source : str
        Folder of the database, relative to the working directory.
    batch_size : int >= 1
        N, the number of records in a batch.
    backend : {LEVELDB, LMDB}, default LEVELDB
        Must be given as LMDB: the default is Caffe's, but LevelDB databases cannot be read.
    prefetch : int >= 1, default 4
        Batches made ahead.
    transform_param : TransformationParameter
        Crop, mirror, mean and scale: ``(pixel - mean) * scale``. Besides `crop_size`, the height `crop_h`
        and the width `crop_w`.

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
    Records come in key order and start again after the last. Crops and mirrors are functions of the net's
    seed and the record's number, so that a resumed run goes on with the same batches.

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
    fields = ("source", "batch_size", "backend", "prefetch", *TRANSFORM.within("transform_param"))
    ignored = {
        **dict.fromkeys(
            ("threads", "parser_threads", "cache", "precache", "disk_reader_threads"), "tunes speed only"
        ),
        "rand_skip": "Caffe does not read it either",
        "force_encoded_color": "Caffe does not read it either; transform_param.force_color does this",
        "verbose": "prints what is read",
        **TRANSFORM.ignored_within("transform_param"),
    }
    bottoms = ()
    tops = (Top("data"), Top("labels", exact=True, least=0))
    layout = "channels_last"
    backward_reads = Reads()
    constraints = {"batch_size": Rule(1, required=True), "prefetch": Rule(1)}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        param = layer.message.data_param
        if not param.source:
            raise layer.error(
                "source is missing", "data_param", hint="set data_param.source to a database folder"
            )
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
        return DataLayer(layer, seed)

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0


class DataLayer(core.Layer):
    """The running layer: hands the loader's batches to the tops without copying them."""

    def __init__(self, layer: LayerDefinition, seed: int) -> None:
        super().__init__()
        self._definition = layer
        self._message = layer.message
        self._param = self._message.data_param
        self._with_label = len(self._message.top) > 1
        self._database = open_database(self._param.source)
        self._transformer = self._make_transformer(seed)
        self._loader = self._load_from(0)

    def _make_transformer(self, seed: int) -> Transformer:
        return Transformer(self._message.transform_param, int(self._message.phase), seed & (2**63 - 1))

    def _load_from(self, record: int) -> DataLoader:
        return DataLoader(
            self._database,
            self._transformer,
            self._param.batch_size,
            prefetch=self._param.prefetch,
            start_record=record,
            with_label=self._with_label,
            on_bad_record=_bad_record_policy(),
        )

    @property
    def position(self) -> int:
        """Number of the record the next batch starts with."""
        return self._loader.position

    @position.setter
    def position(self, record: int) -> None:
        self._loader.close()
        self._loader = self._load_from(record)

    def reseed(self, seed: int) -> None:
        """Draw crops and mirrors from another seed, from the next batch on."""
        self._transformer = self._make_transformer(seed)
        self.position = self.position

    def close(self) -> None:
        """Stop the background threads."""
        self._loader.close()

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[list[int]]:
        """See `core.Layer.top_shapes`."""
        shape = list(self._loader.shape)
        return [shape, shape[:1]] if self._with_label else [shape]

    def private_bytes(self, training: bool) -> int:
        """Size of the batches made ahead; the one in use counts as the tops'."""
        return int(self._param.prefetch) * 4 * (math.prod(self._loader.shape) + self._loader.shape[0])

    def forward(self, bottom: list[core.Blob], top: list[core.Blob]) -> None:
        """Put the next batch into the tops."""
        with errors_of_layer(self._definition):
            batch = self._loader.next()
        top[0].alias_data(batch.data)
        if batch.label is not None:
            top[1].alias_data(batch.label)

    def backward(self, top: list[core.Blob], propagate_down: list[bool], bottom: list[core.Blob]) -> None:
        """Do nothing: there is no bottom."""


def _bad_record_policy() -> Literal["error", "skip"]:
    policy = os.environ.get("CAFFE_ON_BAD_RECORD", "error")
    if policy not in ("error", "skip"):
        raise ConfigError(f"CAFFE_ON_BAD_RECORD must be error or skip, got {policy!r}")
    return cast("Literal['error', 'skip']", policy)
