"""
C++ core: blobs, layers, the executor, batch transforms and solver updates.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import os
import typing
import typing_extensions
__all__: list[str] = ['Blob', 'Executor', 'Layer', 'LmdbCursor', 'LmdbFile', 'Step', 'Updater', 'create_layer', 'fill', 'parse_datums', 'read_image_header', 'registered_layers', 'thread_count', 'transform_batch']
class Blob:
    """
    A named tensor's data and diff: logical shape over a physical layout.
    """
    def __init__(self, shape: collections.abc.Sequence[int] = [], dtype: str = 'float32', layout: str = 'plain') -> None:
        ...
    def alias_data(self, array: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> None:
        """
        Use the array's memory as data; shape and strides must fit.
        """
    def clear_diff(self) -> None:
        """
        Set the gradient to zero.
        """
    def pool_diff(self, slot: Blob) -> None:
        """
        Take turns with other blobs in the diff of `slot`.
        """
    def reshape(self, *args: int) -> None:
        """
        Change the shape: blob.reshape(n, c, h, w).
        """
    def share_data(self, other: Blob) -> None:
        """
        Use the other blob's data from now on.
        """
    def share_diff(self, other: Blob) -> None:
        """
        Use the other blob's diff from now on.
        """
    @property
    def bytes(self) -> int:
        """
        Size of one of the two arrays.
        """
    @property
    def channels(self) -> int:
        """
        Axis 1, or 1.
        """
    @property
    def count(self) -> int:
        """
        Number of elements.
        """
    @property
    def data(self) -> numpy.typing.NDArray[typing.Any]:
        """
        NumPy view of the values, no copy (bfloat16: a read-only float32 copy).
        """
    @property
    def data_id(self) -> int:
        """
        Equal for blobs that share their data.
        """
    @property
    def diff(self) -> numpy.typing.NDArray[typing.Any]:
        """
        NumPy view of the gradient, no copy (bfloat16: a read-only float32 copy).
        """
    @property
    def diff_bytes(self) -> int:
        """
        Size of the memory of the gradient, which blobs of other sizes may use as well.
        """
    @property
    def diff_id(self) -> int:
        """
        Equal for blobs that share their diff.
        """
    @property
    def diff_pooled(self) -> bool:
        """
        Whether the gradient is not kept after backward.
        """
    @property
    def dtype(self) -> str:
        ...
    @property
    def height(self) -> int:
        """
        Axis 2, or 1.
        """
    @property
    def layout(self) -> str:
        ...
    @property
    def num(self) -> int:
        """
        Axis 0, or 1.
        """
    @property
    def shape(self) -> list[int]:
        """
        Dims in Caffe's axis order, a list.
        """
    @property
    def width(self) -> int:
        """
        Axis 3, or 1.
        """
class Layer:
    """
    A layer object; subclass it to write one in Python.
    """
    def __init__(self) -> None:
        ...
    def param_shapes(self, bottoms: collections.abc.Sequence[collections.abc.Sequence[int]]) -> list[list[int]]:
        """
        Shapes of the learned blobs.
        """
    def private_bytes(self, training: bool) -> int:
        ...
    def top_shapes(self, bottoms: collections.abc.Sequence[collections.abc.Sequence[int]]) -> list[list[int]]:
        """
        Shapes of the tops for bottoms of these shapes.
        """
    @property
    def param_propagate_down(self) -> list[bool]:
        ...
    @param_propagate_down.setter
    def param_propagate_down(self, arg0: collections.abc.Sequence[bool]) -> None:
        ...
    @property
    def params(self) -> list[Blob]:
        ...
    @params.setter
    def params(self, arg0: collections.abc.Sequence[Blob]) -> None:
        ...
    @property
    def stream(self) -> int:
        ...
    @stream.setter
    def stream(self, arg0: int) -> None:
        ...
class Step:
    """
    One planned call of a layer.
    """
    def __init__(self, *, name: str, layer: Layer, bottoms: collections.abc.Sequence[Blob], tops: collections.abc.Sequence[Blob], loss_weights: collections.abc.Sequence[float], propagate_down: collections.abc.Sequence[bool], need_backward: bool) -> None:
        ...
class Executor:
    """
    Runs planned steps forward and backward.
    """
    check_finite: bool
    timing: bool
    def __init__(self, steps: collections.abc.Sequence[Step], seed: int) -> None:
        ...
    def __len__(self) -> int:
        ...
    def backward(self, begin: int, end: int, all: bool = False) -> None:
        """
        Run steps [begin, end) backward, from the last to the first.
        """
    def forward(self, begin: int, end: int) -> float:
        """
        Run steps [begin, end); returns their loss.
        """
    def reshape(self) -> None:
        """
        Bring all shapes up to date without computing.
        """
    @property
    def backward_ms(self) -> list[float]:
        ...
    @property
    def forward_ms(self) -> list[float]:
        ...
    @property
    def iteration(self) -> int:
        """
        Number of the forward pass, for random numbers.
        """
    @iteration.setter
    def iteration(self, arg0: int) -> None:
        ...
    @property
    def scratch_bytes(self) -> int:
        ...
    @property
    def seed(self) -> int:
        ...
    @seed.setter
    def seed(self, arg0: int) -> None:
        ...
class LmdbFile:
    """
    An LMDB file, read without trust. Damage raises RuntimeError.
    """
    def __init__(self, path: os.PathLike[str] | str | bytes) -> None:
        ...
    def __len__(self) -> int:
        ...
class LmdbCursor:
    """
    A place in an LMDB file; for one thread at a time.
    """
    def __init__(self, file: LmdbFile) -> None:
        ...
    def after(self, key: bytes) -> typing.Any:
        """
        Key and value of the record that follows a key, or None.
        """
    def next(self) -> typing.Any:
        """
        Key and value of the next record, None past the last.
        """
    def skip(self, count: int) -> int:
        """
        Pass over records; returns how many there were.
        """
class Updater:
    """
    Applies a solver's rule to all learnable params at once.
    """
    def __init__(self, rule: str, params: collections.abc.Sequence[Blob], lr_mults: collections.abc.Sequence[float], decay_mults: collections.abc.Sequence[float]) -> None:
        ...
    def clear_gradients(self) -> None:
        ...
    def squared_gradient_norm(self) -> float:
        ...
    def update(self, *, rate: float, momentum: float, momentum2: float, rms_decay: float, delta: float, weight_decay: float, l1: bool, gradient_scale: float, iteration: int) -> None:
        """
        One update: data -= change; the diffs hold the change afterwards.
        """
    @property
    def history(self) -> list[Blob]:
        """
        History blobs, in the order of a solver state.
        """
def create_layer(type: str, device: str, arguments: dict[str, typing.Any]) -> Layer:
    """
    Create a layer by type name.
    """
def fill(blob: Blob, *, type: str, value: float, min: float, max: float, mean: float, std: float, sparse: int, variance_norm: str, seed: int, stream: int) -> None:
    """
    Fill a learned blob with its initial values.
    """
def parse_datums(records: list[typing.Any]) -> tuple[numpy.typing.NDArray[typing.Any], list[tuple[int, str]]]:
    """
    Check serialized Datum records. Returns one entry a record (channels, height, width, label, encoded, bit_depth, data_offset, data_size) and what is wrong as a list of (index, message).
    """
def read_image_header(file: typing_extensions.Buffer) -> dict[str, typing.Any]:
    """
    What a JPEG or PNG file says about itself. Raises ValueError for other formats and over the limits.
    """
def registered_layers(device: str) -> list[str]:
    """
    Names of the types that have a kernel for the device, sorted.
    """
def thread_count() -> int:
    """
    Number of OpenMP threads layers run on.
    """
def transform_batch(items: list[typing.Any], out: numpy.typing.NDArray[numpy.float32], h_off: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], w_off: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], mirror: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], scale: float, mean_values: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], mean_planar: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None = None, mean_interleaved: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None = None) -> list[tuple[int, str]]:
    """
    Crop, mirror, subtract the mean and scale: item i (a Datum record, or a decoded image as uint8 array of rows, columns and channels) into out[i], float32 of shape (N, C, H, W) and any strides. Returns what is wrong as a list of (index, message); such items are left as they were.
    """
