"""LSTM: a recurrent layer whose units have input, forget and output gates."""

from __future__ import annotations

from math import prod

from ..facts import Reads, Top
from ..layer_type import Shape
from ..prototxt.definition import LayerDefinition
from .recurrent import Recurrent

_ROWS_WORTH_BFLOAT16 = 64  # measured on two cores with AMX


class LSTM(Recurrent):
    """Recurrent layer of H units with gates: ``c_t = cont_t f c_{t-1} + i g``, ``h_t = o tanh(c_t)``.

    The gates of step t are ``i = s(a_i), f = s(a_f), o = s(a_o), g = tanh(a_g)`` with s(a) = 1 / (1 + e^-a)
    and ``a = W_x x_t + b + W_static x_static + W_h (cont_t h_{t-1})``.

    Parameters
    ----------
    num_output : int >= 1
        H, the number of units.
    weight_filler : FillerParameter, default constant 0
        Initial values of W_x, W_static and W_h.
    bias_filler : FillerParameter, default constant 0
        Initial values of b.
    expose_hidden : bool, default false
        h_0 and c_0 are bottoms, and h_T and c_T are tops, in place of the state that the layer keeps.

    Returns
    -------
    h
        (T, N, H).
    h_T, c_T
        With expose_hidden: (1, N, H) each, float32.

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
    expose_hidden h_0 and c_0 (1, N, H).

    Learned blobs in this order: W_x (4H, I), b (4H), W_static (4H, S) if there is an x_static, W_h (4H, H);
    each holds what belongs to i, f, o and g, one below the other.

    Without expose_hidden, h_T and c_T of a forward are h_0 and c_0 of the next one of the same net; cont 0 at
    the first step makes a fresh start. They are zero at first and after a change of N, and part of the
    solver's state. Gradients end with the batch: none flows into h_0 and c_0 (zero, if asked for), and those
    of h_T and c_T are not read. Where cont is 0 nothing of the step before counts, not even a NaN.

    One loop over the steps; what does not depend on the step before is one matrix product for all of them.
    Unlike in Caffe, T may change from one forward to the next, and there is no inner net: blobs inside cannot
    be looked at. In bfloat16 plans x, h and the factors of products are bfloat16; gates, cells and state stay
    float32, and so does all of it where fewer than 64 rows T N learn, as for InnerProduct.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, Long short-term memory, Neural Computation 1997. J. Donahue et al.,
    Long-term recurrent convolutional networks for visual recognition and description, CVPR 2015 (Caffe's).

    Examples
    --------
    ::

        layer {
          name: "lstm1" type: "LSTM" bottom: "words" bottom: "cont" top: "lstm1"
          recurrent_param { num_output: 256 weight_filler { type: "uniform" min: -0.08 max: 0.08 } }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> lstm = 'type: "LSTM" recurrent_param { num_output: 1 weight_filler { value: 1 } }'
    >>> [[[first]], [[second]]] = run_layer(lstm, [[[1.0]], [[1.0]]], [[0.0], [1.0]])
    >>> round(first, 4), round(second, 4)
    (0.3696, 0.6505)
    """

    type = "LSTM"
    hidden = ("h", "c")
    tops = (Top("h"), Top("h_T, c_T", exact=True, least=0, most=2))
    precision = "matrix"
    backward_reads = Reads(bottoms=True)

    @classmethod
    def precision_of(cls, layer: LayerDefinition, bottom: Shape, *, learns: bool) -> str:
        """See `LayerType.precision_of`: few rows take less time than turning the weights to bfloat16."""
        return "float32" if learns and prod(bottom[:2]) < _ROWS_WORTH_BFLOAT16 else cls.precision
