"""Embed: rows of a learned table, by their index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Learned, Reads, Top
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule


class Embed(LayerType):
    """Look words up in a learned table: ``y[m] = W[indices[m]] + b``.

    Parameters
    ----------
    input_dim : int >= 1
        I, the number of words. Required.
    num_output : int >= 1
        N, the number of values that stand for a word. Required.
    bias_term : bool, default true
        Whether there is a bias b.
    weight_filler, bias_filler : FillerParameter, default constant 0
        Initial values. A weight filler is nearly always wanted.

    Returns
    -------
    y
        The bottom's axes, then N.

    Raises
    ------
    ConfigError
        If input_dim or num_output is missing or below 1, or a gradient of the indices is asked for.
    DataError
        At forward, for an index that is none of 0 .. I - 1.

    Notes
    -----
    The same as InnerProduct of one-hot vectors, without making them. Learned blobs: W of shape (I, N), b of
    shape (N). Indices and y are float32 in a bfloat16 plan too; fractions of indices are cut off. Both
    gradients accumulate; deterministic on both devices: rows with the same index are added in their order.
    Unlike Caffe, which reads beyond the table, the layer refuses an index out of range.

    References
    ----------
    T. Mikolov et al., Efficient estimation of word representations in vector space, 2013. Formula and
    parameters as in Caffe's layer catalogue, Embed.

    Examples
    --------
    ::

        layer {
          name: "words" type: "Embed" bottom: "sentence" top: "words" propagate_down: false
          embed_param {
            input_dim: 8801 num_output: 1000 weight_filler { type: "uniform" min: -0.08 max: 0.08 }
          }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> fillers = 'weight_filler { value: 2 } bias_filler { value: 0.5 }'
    >>> run_layer(f'type: "Embed" embed_param {{ input_dim: 3 num_output: 2 {fillers} }}', [0.0, 2.0])
    [[2.5, 2.5], [2.5, 2.5]]
    """

    type = "Embed"
    param = "embed_param"
    fields = ("input_dim", "num_output", "bias_term", "weight_filler", "bias_filler")
    bottoms = (Bottom("indices", exact=True, plain=True, gradient=False),)
    tops = (Top(plain=True),)
    precision = "float32"
    backward_reads = Reads(bottoms=True)
    constraints = {"input_dim": Rule(1, required=True), "num_output": Rule(1, required=True)}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.embed_param
        return {
            "input_dim": param.input_dim,
            "num_output": param.num_output,
            "bias_term": param.bias_term,
        }

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`."""
        param = layer.message.embed_param
        return [Learned(param.weight_filler), Learned(param.bias_filler)][: 1 + param.bias_term]
