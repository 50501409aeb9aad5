"""Python: a layer that the user has written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from .. import _core as core
from ..errors import ShapeError
from ..facts import Bottom, Top
from ..graph.locate import errors_of_user_code
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition
from ..pycuda_arrays import pycuda_context
from ..user_layers.user_code import check_allowed, load_class


class Python(LayerType):
    """Run a class of the user's own, derived from ``caffe.Layer``.

    Parameters
    ----------
    module : str
        Python module that holds the class, looked up on ``sys.path`` (PYTHONPATH, the folder of the script).
    layer : str
        Name of the class.
    param_str : str, default ""
        Text for the class, its ``self.param_str``.
    share_in_parallel : bool, default false
        Accepted, without effect.

    Returns
    -------
    top[0], top[1], ...
        What the class makes of its bottoms; any number of both.

    Raises
    ------
    ConfigError
        If the module or class is missing, the class is no ``caffe.Layer``, or it was not allowed to run.
    ShapeError
        If a top that is its own bottom (in-place use) gets another shape.
    Exception
        Whatever the class raises, with a note that names the layer and its place in the file.

    Notes
    -----
    ``setup(bottom, top)`` runs once, ``reshape(bottom, top)`` after it and before every
    ``forward(bottom, top)``, and ``backward(top, propagate_down, bottom)`` where a gradient is wanted. Blobs
    are float32 and C-contiguous, so that ``.reshape`` and ``.ravel`` on their data are views. Tops may change
    their shapes in any ``reshape`` or ``forward``; the layers behind follow.

    A loss needs a ``loss_weight``; ``top[0].diff`` holds it. ``self.blobs.add_blob`` in ``setup`` adds a
    learned blob, with zeros or what ``setup`` puts in; ``backward`` adds to its gradient.

    In a net on the GPU the class runs on the CPU, between copies, unless it has
    ``forward_gpu(bottom, top)`` or ``backward_gpu(top, propagate_down, bottom)``. Then its blobs stay on the
    GPU, these methods run in place of ``forward`` and ``backward``, and compute on ``blob.gpu_data`` and
    ``blob.gpu_diff``.

    A net may run the code it names in programs, not in the command ``caffe``, unless its user says so with
    ``-allow_python_layers`` or CAFFE_ALLOW_PYTHON_LAYERS=1.

    References
    ----------
    The layer of the same name in BVLC Caffe.

    Examples
    --------
    ::

        layer {
          name: "loss" type: "Python" bottom: "scores" bottom: "wanted" top: "loss" loss_weight: 1
          python_param { module: "my_layers" layer: "HalfSquares" }
        }

    >>> import sys, types
    >>> import caffe
    >>> class HalfSquares(caffe.Layer):
    ...     def reshape(self, bottom, top):
    ...         top[0].reshape(1)
    ...
    ...     def forward(self, bottom, top):
    ...         self.difference = bottom[0].data - bottom[1].data
    ...         top[0].data[...] = (self.difference**2).sum() / 2 / bottom[0].num
    ...
    ...     def backward(self, top, propagate_down, bottom):
    ...         for blob, sign, wanted in zip(bottom, (1, -1), propagate_down):
    ...             if wanted:
    ...                 blob.diff[...] = sign * top[0].diff[0] * self.difference / blob.num
    >>> sys.modules["my_layers"] = types.ModuleType("my_layers")  # in place of a file my_layers.py
    >>> sys.modules["my_layers"].HalfSquares = HalfSquares
    >>> from pycaffe_like.testing import run_layer
    >>> layer = 'type: "Python" python_param { module: "my_layers" layer: "HalfSquares" }'
    >>> run_layer(layer, [[1.0, 2.0]], [[0.0, 0.0]])
    [2.5]
    """

    type = "Python"
    param = "python_param"
    fields = ("module", "layer", "param_str")
    ignored = {"share_in_parallel": "is for training on several GPUs"}
    bottoms = (Bottom(exact=True, plain=True, least=0, most=None),)
    tops = (Top(exact=True, plain=True, least=0, most=None),)
    in_place = True
    layout = "plain"
    precision = "float32"
    writes_gradients = False
    recomputable = False
    runs_user_code = True

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        check_allowed(layer)
        for field in ("module", "layer"):
            if not getattr(layer.message.python_param, field):
                raise layer.error(f"{field} is missing", "python_param", hint=f"set python_param.{field}")

    @classmethod
    def start(cls, layer: LayerDefinition, bottoms: Sequence[Shape], device: str, seed: int) -> core.Layer:
        """See `LayerType.start`."""
        return PythonLayer(layer, bottoms, device)

    @classmethod
    def device_of(cls, layer: LayerDefinition, bottoms: Sequence[Shape], wanted: str) -> str:
        """See `LayerType.device_of`: on the GPU if the class has a method for it."""
        user_class = load_class(layer)
        computes_there = hasattr(user_class, "forward_gpu") or hasattr(user_class, "backward_gpu")
        return wanted if computes_there else "cpu"

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`: data is only moved."""
        return 0


class PythonLayer(core.Layer):
    """The running layer: calls the methods of the user's object, in Caffe's order.

    The graph asks for shapes before there are blobs, and users give shapes by reshaping blobs. So `setup` and
    the first `reshape` get stand-ins, which take no memory unless somebody looks into them.

    Attributes
    ----------
    user_layer : Layer
        The user's object.
    """

    def __init__(self, layer: LayerDefinition, bottoms: Sequence[Shape], device: str) -> None:
        super().__init__(device)
        self.shapes_its_tops = True
        self._definition = layer
        param = layer.message.python_param
        self._class_name = f"{param.module}.{param.layer}"
        user_class = load_class(layer)
        with errors_of_user_code(layer, self._class_name):
            self.user_layer = user_class(layer.message)
        self.user_layer.blobs.move(device)
        self._met_the_net = False
        self._make_stand_ins(bottoms, [[]] * len(layer.tops))
        self._call("setup", self._bottom, self._top)
        self._call("reshape", self._bottom, self._top)
        self.params = list(self.user_layer.blobs)

    def _make_stand_ins(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        self._bottom = [core.Blob(shape, device=self.device) for shape in bottoms]
        self._top = [
            self._bottom[index] if self._in_place(index) else core.Blob(shape, device=self.device)
            for index, shape in enumerate(tops)
        ]

    def _in_place(self, top: int) -> bool:
        return self._definition.bottoms[top : top + 1] == [self._definition.tops[top]]

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[list[int]]:
        """Shapes that `reshape` gives, and has given already if it saw these bottoms last."""
        if [blob.shape for blob in self._bottom] != bottoms:
            self._make_stand_ins(bottoms, [blob.shape for blob in self._top])
            self._call("reshape", self._bottom, self._top)
        for index, blob in enumerate(self._top):
            if self._in_place(index) and blob.shape != bottoms[index]:
                raise ShapeError(
                    f"top {index} is bottom {index}, so its shape must stay {tuple(bottoms[index])}, "
                    f"it became {tuple(blob.shape)}",
                    hint="give the top a name of its own",
                )
        return [blob.shape for blob in self._top]

    def param_shapes(self, bottoms: Sequence[Shape]) -> list[list[int]]:
        """See `core.Layer.param_shapes`."""
        return [blob.shape for blob in self.params]

    def reshape(self, bottom: list[core.Blob], top: list[core.Blob]) -> None:
        """Call the user's `reshape`, but the first time: it has run, and the net takes what `setup` wrote."""
        if self._met_the_net:
            self._call("reshape", bottom, top)
            return
        self._met_the_net = True
        for index, blob in enumerate(top):
            if not self._in_place(index):
                blob.share_data(self._top[index])
        self._make_stand_ins([blob.shape for blob in bottom], [blob.shape for blob in top])

    def forward(self, bottom: list[core.Blob], top: list[core.Blob]) -> None:
        """See `core.Layer.forward`."""
        self._call(self._method("forward"), bottom, top)

    def backward(self, top: list[core.Blob], propagate_down: list[bool], bottom: list[core.Blob]) -> None:
        """See `core.Layer.backward`."""
        self._call(self._method("backward"), top, propagate_down, bottom)

    def _method(self, name: str) -> str:
        """The method for the layer's device. One that is missing for the GPU computes on NumPy arrays."""
        on_gpu = f"{name}_gpu"
        return on_gpu if self.device == "cuda" and hasattr(self.user_layer, on_gpu) else name

    def _call(self, method: str, *arguments: list[core.Blob] | list[bool]) -> None:
        with errors_of_user_code(self._definition, f"{self._class_name}.{method}"), self._context():
            getattr(self.user_layer, method)(*arguments)

    def _context(self) -> AbstractContextManager[None]:
        """PyCUDA wants to be told of the GPU; whoever uses it has imported it."""
        uses_pycuda = self.device == "cuda" and "pycuda.driver" in sys.modules
        return pycuda_context() if uses_pycuda else nullcontext()
