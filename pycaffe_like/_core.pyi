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
__all__: list[str] = ['Blob', 'DeviceArray', 'Executor', 'Layer', 'LayerShapes', 'LmdbCursor', 'LmdbFile', 'Step', 'Storage', 'TrainingStep', 'UpdateSettings', 'Updater', 'accelerator_built', 'accelerator_in_use', 'accelerator_memory', 'accelerator_properties', 'accelerator_report', 'allocations', 'check_image_size', 'checked_image', 'choose_accelerator', 'chosen_accelerator', 'copy_gbytes_per_second', 'create_layer', 'draw_below', 'fill', 'history_sets', 'layer_shapes', 'parse_datums', 'peak_gflops', 'read_image_header', 'registered_layers', 'set_library_folders', 'solver_rules', 'stream', 'synchronize', 'thread_count', 'transform_batch', 'transform_stored', 'use_accelerator']
class DeviceArray:
    """
    An array on the GPU, for packages that compute there.
    """
    def __dlpack__(self, *, stream: typing.Any = None, max_version: tuple[int, int] | None = None, dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> typing_extensions.CapsuleType:
        ...
    def __dlpack_device__(self) -> tuple[int, int]:
        ...
    @property
    def __cuda_array_interface__(self) -> dict[str, typing.Any]:
        ...
    @property
    def dtype(self) -> str:
        ...
    @property
    def ptr(self) -> int:
        """
        Address on the GPU.
        """
    @property
    def shape(self) -> tuple[int, ...]:
        ...
class Storage:
    """
    Memory, allocated at its first use.
    """
    def __init__(self, bytes: int, device: str = 'cpu') -> None:
        ...
    @property
    def allocated(self) -> bool:
        ...
    @property
    def bytes(self) -> int:
        ...
    @property
    def device(self) -> str:
        ...
class Blob:
    """
    A named tensor's data and diff: logical shape over a physical layout.
    """
    def __init__(self, shape: collections.abc.Sequence[int] = [], dtype: str = 'float32', layout: str = 'plain', device: str = 'cpu') -> None:
        ...
    def alias_data(self, array: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> None:
        """
        Use the array's memory as data; shape and strides must fit.
        """
    def assign_diff(self, values: Blob) -> None:
        """
        Set the gradient to another float32 blob's data.
        """
    def clear_diff(self) -> None:
        """
        Set the gradient to zero.
        """
    def data_is_finite(self) -> bool:
        """
        Whether no value is NaN or infinite; also for data that is not kept, right after it was made.
        """
    def place_data(self, arena: Storage, offset: int) -> None:
        """
        Use a part of the arena, in turns with other blobs, for data.
        """
    def place_diff(self, arena: Storage, offset: int) -> None:
        """
        The same for the gradient.
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
    def data_allocated(self) -> bool:
        ...
    @property
    def data_id(self) -> int:
        """
        Equal for blobs that share their data.
        """
    @property
    def data_pooled(self) -> bool:
        """
        Whether the values are not kept after the run.
        """
    @property
    def device(self) -> str:
        """
        Where both arrays lie.
        """
    @property
    def diff(self) -> numpy.typing.NDArray[typing.Any]:
        """
        NumPy view of the gradient, no copy (bfloat16: a read-only float32 copy).
        """
    @property
    def diff_allocated(self) -> bool:
        ...
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
    def gpu_data(self) -> DeviceArray:
        """
        The values on the GPU, for packages that compute there.
        """
    @property
    def gpu_diff(self) -> DeviceArray:
        """
        The gradient on the GPU.
        """
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
class LmdbFile:
    """
    An LMDB file, read without trust. Damage raises RuntimeError.
    """
    def __init__(self, path: os.PathLike[str] | str | bytes) -> None:
        ...
    def __len__(self) -> int:
        ...
    def read(self, places: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64], into: numpy.typing.NDArray[numpy.uint8]) -> None:
        """
        Read the values at these places, one behind the other.
        """
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
    def locate(self, count: int, keys: list[typing.Any]) -> numpy.typing.NDArray[numpy.uint64]:
        """
        Pass over records: adds their keys to a list and returns the places of their values in the file, one row (offset, bytes) a record; fewer than `count` at the end.
        """
    def next(self) -> typing.Any:
        """
        Key and value of the next record, None past the last.
        """
    def skip(self, count: int) -> int:
        """
        Pass over records; returns how many there were.
        """
class LayerShapes:
    """
    Shapes of what a layer makes, learns and carries.
    """
    @property
    def params(self) -> list[list[int]]:
        ...
    @property
    def state(self) -> list[list[int]]:
        ...
    @property
    def tops(self) -> list[list[int]]:
        ...
class Layer:
    """
    A layer object; subclass it to write one in Python.
    """
    shapes_its_tops: bool
    def __init__(self, device: str = 'cpu') -> None:
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
    def device(self) -> str:
        ...
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
    def shapes_at_run_time(self) -> bool:
        ...
    @property
    def state(self) -> list[Blob]:
        ...
    @state.setter
    def state(self, arg0: collections.abc.Sequence[Blob]) -> None:
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
    def recompute_before(self, step: int, again: collections.abc.Sequence[int]) -> None:
        """
        Run the steps `again` forward before the backward of `step`: what they made was overwritten.
        """
    def reshape(self) -> None:
        """
        Bring all shapes up to date without computing.
        """
    def scratch_bytes(self, device: str) -> int:
        """
        Bytes of the buffer that layers on that device take turns to use.
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
    def seed(self) -> int:
        ...
    @seed.setter
    def seed(self, arg0: int) -> None:
        ...
class UpdateSettings:
    """
    What all params of one update have in common.
    """
    def __init__(self, *, rate: float, momentum: float, momentum2: float, rms_decay: float, delta: float, weight_decay: float, l1: bool, gradient_scale: float, iteration: int, clip_gradients: float = -1.0) -> None:
        ...
class Updater:
    """
    Applies a solver's rule to all learnable params at once.
    """
    def __init__(self, rule: str, params: collections.abc.Sequence[Blob], lr_mults: collections.abc.Sequence[float], decay_mults: collections.abc.Sequence[float]) -> None:
        ...
    def clear_gradients(self) -> None:
        ...
    def update(self, settings: UpdateSettings) -> float:
        """
        One update: data -= change; the diffs hold the change afterwards. Returns the gradients' L2 norm if they may be clipped, else 0.
        """
    @property
    def history(self) -> list[Blob]:
        """
        History blobs, in the order of a solver state.
        """
class TrainingStep:
    """
    One iteration on the GPU, queued at once and recorded when it repeats.
    """
    def __init__(self, executor: Executor, updater: Updater) -> None:
        ...
    def run(self, settings: UpdateSettings, passes: int = 1) -> int:
        """
        Clear the gradients, run so many passes forward and backward, update; returns a number for `wait`.
        """
    def wait(self, iteration: int) -> tuple[float, float]:
        """
        Wait for that run and return its mean loss, and the gradients' L2 norm if they may be clipped, else 0; both are kept until four more have run.
        """
    @property
    def executor(self) -> Executor:
        ...
    @property
    def repeated(self) -> bool:
        """
        Whether the last run repeated a recording.
        """
def accelerator_built() -> bool:
    """
    Whether this build has a GPU part.
    """
def accelerator_in_use() -> bool:
    """
    Whether anything of this process is on the GPU.
    """
def accelerator_memory(device: int) -> tuple[int, int]:
    """
    Free and total bytes of a GPU.
    """
def accelerator_properties(device: int) -> dict[str, typing.Any]:
    """
    Properties of a GPU, which is not set up for that.
    """
def accelerator_report() -> dict[str, typing.Any]:
    """
    What the GPU part was built with and finds here; throws DeviceError where it is not built.
    """
def allocations() -> tuple[int, int]:
    """
    Bytes that all blobs and layers of the process own now, and how often memory was asked for.
    """
def check_image_size(width: int, height: int) -> None:
    """
    Raise ValueError for an image without pixels or over the limits.
    """
def checked_image(file: typing_extensions.Buffer) -> typing.Any:
    """
    The JPEG or PNG file, or as much of it as makes its pixels, for the decoder. Raises ValueError as read_image_header does.
    """
def choose_accelerator(device: int) -> None:
    """
    Choose the GPU, counted from 0, before it is used.
    """
def chosen_accelerator() -> int:
    """
    Number of the GPU, used or not.
    """
def copy_gbytes_per_second(bytes: int) -> float:
    """
    Copies between two arrays that together have `bytes`, in GB/s; reads and writes both count.
    """
def create_layer(type: str, device: str, arguments: dict[str, typing.Any]) -> Layer:
    """
    Create a layer by type name.
    """
def draw_below(bound: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], seed: int, counters: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], draw: int) -> numpy.typing.NDArray[numpy.int64]:
    """
    One integer of 0 .. bound - 1 for each counter; one bound for all, or one a counter.
    """
def fill(blob: Blob, *, type: str, value: float, min: float, max: float, mean: float, std: float, sparse: int, variance_norm: str, seed: int, stream: int) -> None:
    """
    Fill a learned blob with its initial values.
    """
def history_sets(rule: str) -> int:
    """
    Arrays of history that a rule has for each param.
    """
def layer_shapes(type: str | Layer, arguments: dict[str, typing.Any], bottoms: collections.abc.Sequence[collections.abc.Sequence[int]]) -> LayerShapes:
    """
    Shapes of all that a layer makes, learns and carries, for bottoms of these shapes: of a type with these arguments, or of a layer that has started.
    """
def parse_datums(records: list[typing.Any]) -> tuple[numpy.typing.NDArray[typing.Any], list[tuple[int, str]]]:
    """
    Check serialized Datum records. Returns one entry a record (channels, height, width, label, encoded, bit_depth, data_offset, data_size) and what is wrong as a list of (index, message).
    """
def peak_gflops(dtype: str) -> float:
    """
    Multiply-adds on registers on all threads, in GFLOP/s; 0 if the processor has none of this type.
    """
def read_image_header(file: typing_extensions.Buffer) -> dict[str, typing.Any]:
    """
    What a JPEG or PNG file says about itself. Raises ValueError for other formats and over the limits.
    """
def registered_layers(device: str) -> list[str]:
    """
    Names of the types that have a kernel for the device, sorted.
    """
def set_library_folders(folders: collections.abc.Sequence[str]) -> None:
    """
    Say where to look first for the GPU's libraries.
    """
def solver_rules() -> list[str]:
    """
    Names of all solver types that have a rule, sorted.
    """
def stream() -> int:
    """
    Handle of the stream that work is queued on, a cudaStream_t.
    """
def synchronize() -> None:
    """
    Wait until all work on the GPU is done.
    """
def thread_count() -> int:
    """
    Number of OpenMP threads layers run on.
    """
def transform_batch(items: list[typing.Any], out: numpy.typing.NDArray[numpy.float32], h_off: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], w_off: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], mirror: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], scale: float, mean_values: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], mean_planar: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None = None, mean_interleaved: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None = None, first: int = 0) -> list[tuple[int, str]]:
    """
    Crop, mirror, subtract the mean and scale: item i (a Datum record, or a decoded image as uint8 array of rows, columns and channels) into out[first + i], float32 of shape (N, C, H, W) and any strides, with the crop of that place. Returns what is wrong as a list of (index, message); such items are left as they were.
    """
def transform_stored(file: LmdbFile, places: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64], size: typing.Annotated[collections.abc.Sequence[int], "FixedSize(3)"], out: numpy.typing.NDArray[numpy.float32], labels: numpy.typing.NDArray[numpy.float32], h_off: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], w_off: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], mirror: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], scale: float, mean_values: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], mean_planar: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None = None, mean_interleaved: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None = None) -> bool:
    """
    Like transform_batch, of the Datum records at these places of a file, and with their labels. All must be readable, not encoded and of this size (channels, height, width): returns False if one is not, with the batch in an unknown state.
    """
def use_accelerator() -> None:
    """
    Set the GPU up; throws DeviceError where there is none.
    """
