"""RNN: a plain recurrent layer."""

from __future__ import annotations

from ..facts import Learned, Reads, Top
from ..prototxt.definition import LayerDefinition
from .recurrent import Recurrent


class RNN(Recurrent):
    """Plain recurrent layer: ``h_t = tanh(a_t)``, ``o_t = tanh(W_o h_t + b_o)``.

    a_t is ``a_t = W_x x_t + b_h + W_static x_static + W_h (cont_t h_{t-1})``.

    Parameters
    ----------
    num_output : int >= 1
        H, the number of hidden units and of outputs.
    weight_filler : FillerParameter, default constant 0
        Initial values of W_x, W_static, W_h and W_o.
    bias_filler : FillerParameter, default constant 0
        Initial values of b_h and b_o.
    expose_hidden : bool, default false
        h_0 is a bottom and h_T a top, in place of the state that the layer keeps.

    Returns
    -------
    o
        (T, N, H).
    h_T
        With expose_hidden: (1, N, H).

    Raises
    ------
    ConfigError
        If num_output is missing or below 1, if the number of bottoms or tops does not go with expose_hidden,
        or if the gradient of cont is asked for.
    ShapeError
        If the bottoms do not fit together, or ask for learned blobs of other shapes than there are.

    Notes
    -----
    Bottoms in this order: x (T, N, ...), which are N sequences of T steps; cont (T, N), 1 where a sequence
    goes on and 0 where another begins; x_static (N, ...), the same for all steps, which may be left out; with
    expose_hidden h_0 (1, N, H).

    Learned blobs in this order: W_x (H, I), b_h (H), W_static (H, S) if there is an x_static, W_h (H, H),
    W_o (H, H), b_o (H).

    State, gradients through time and what Caffe does otherwise are as for LSTM. Computes in float32.

    References
    ----------
    J. Elman, Finding structure in time, Cognitive Science 1990. Blobs and formulas as in Caffe's layer of the
    same name.

    Examples
    --------
    ::

        layer {
          name: "rnn1" type: "RNN" bottom: "words" bottom: "cont" top: "rnn1"
          recurrent_param { num_output: 256 weight_filler { type: "uniform" min: -0.08 max: 0.08 } }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> rnn = 'type: "RNN" recurrent_param { num_output: 1 weight_filler { value: 1 } }'
    >>> [[[first]], [[second]]] = run_layer(rnn, [[[1.0]], [[1.0]]], [[0.0], [1.0]])
    >>> round(first, 4), round(second, 4)  # tanh(tanh(1)), tanh(tanh(1 + tanh(1)))
    (0.642, 0.7365)
    """

    type = "RNN"
    hidden = ("h",)
    tops = (Top("o"), Top("h_T", exact=True, least=0))
    precision = "float32"
    backward_reads = Reads(bottoms=True, tops=("o",))

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`."""
        param = layer.message.recurrent_param
        return [*super().learned(layer), Learned(param.weight_filler), Learned(param.bias_filler)]
