"""HDF5Data: batches of rows of datasets in HDF5 files."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _core as core
from ..data.hdf5_file import import_h5py, read_file_names
from ..data.hdf5_rows import Hdf5Rows
from ..data.loader import DataLoader
from ..facts import Top
from ..layer_type import Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule
from .data_layer import DataLayer, DataLayerType, check_source

_PREFETCH = 2


class HDF5Data(DataLayerType):
    """Read batches of rows of datasets in HDF5 files, prepared ahead by a background thread.

    Parameters
    ----------
    source : str
        File that lists HDF5 files, with blanks or line ends between their names; all names are relative to
        the working directory.
    batch_size : int >= 1
        N, the number of rows in a batch.
    shuffle : bool, default false
        Take the files of each pass, and the rows of each file, in a new random order.

    Returns
    -------
    top[0], top[1], ...
        (N, ...), a batch of the dataset of the top's name, which lies at the root of each file. Integers and
        floats of any size become float32.

    Raises
    ------
    ConfigError
        If source or batch_size are missing, there is a transform_param, or the package h5py is not installed.
    DataError
        If a file or a dataset is missing or damaged, a dataset is not of numbers, those of a file have not
        equally many rows, or rows have another shape than those of the first file; the message names the
        list's line.

    Notes
    -----
    Rows come in the order of files and rows, unless they are shuffled, and start again after the last;
    batches go on across the ends of files. Shuffles are functions of the net's seed and of the number of rows
    delivered, so that a resumed run goes on with the same batches.

    One file is open at a time. Its datasets are loaded whole, as in Caffe; if they take more than 1 GiB, each
    batch reads its own rows. Large files that are shuffled should be stored contiguously or in small chunks.

    The HDF5 library is not made for files that somebody wants to do harm with: read only those you trust.
    ``pip install 'pycaffe-like[hdf5]'`` brings it.

    References
    ----------
    Files, order and batches as in Caffe's HDF5Data layer, which does not check the shapes of later files.

    Examples
    --------
    ::

        layer {
          name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
          hdf5_data_param { source: "data/train.txt" batch_size: 64 shuffle: true }
        }
    """

    type = "HDF5Data"
    param = "hdf5_data_param"
    fields = ("source", "batch_size", "shuffle")
    tops = (Top(most=None),)
    layout = "plain"
    constraints = {"batch_size": Rule(1, required=True)}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        check_source(layer, cls.param, "a file that lists HDF5 files")
        if layer.message.HasField("transform_param"):
            raise layer.error(
                "HDF5Data does not transform what it reads", "transform_param",
                hint="remove transform_param; store the values as the net wants them, or add a Scale layer",
            )  # fmt: skip
        import_h5py()

    @classmethod
    def start(cls, layer: LayerDefinition, bottoms: Sequence[Shape], device: str, seed: int) -> core.Layer:
        """See `LayerType.start`."""
        param = layer.message.hdf5_data_param
        names = read_file_names(param.source)

        def open_loader(seed: int, record: int) -> DataLoader:
            rows = Hdf5Rows(
                names, layer.tops, param.batch_size, seed=seed, shuffle=param.shuffle, start=record
            )
            return DataLoader(rows, prefetch=_PREFETCH)

        return DataLayer(layer, seed, open_loader)
