"""BatchNorm: batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Learned, Reads
from ..graph.nodes import Node
from ..layer_type import LayerType, Shape, top_count
from ..prototxt import schema
from ..prototxt.definition import LayerDefinition
from ..prototxt.upgrade_forks import learns_scale
from ..rules import Rule


class BatchNorm(LayerType):
    """Normalise each channel: ``y = (x - mu) / sqrt(v + eps)``.

    Parameters
    ----------
    use_global_stats : bool, default true in phase TEST, false in TRAIN
        Take mu and v from the stored statistics instead of the batch.
    moving_average_fraction : float in [0, 1], default 0.999
        f: how much of the stored statistics survives each batch.
    eps : float > 0, default 1e-5
        Keeps the division finite.
    scale_bias : bool, default false
        Learn a scale s and a shift t as well: ``y = s (x - mu) / sqrt(v + eps) + t``. An extension
        (NVIDIA's); the usual way is a Scale layer with bias_term after this one, which a plan runs as one
        step with it.
    scale_filler, bias_filler : FillerParameter, default constant 1 and 0
        Initial s and t; giving either turns `scale_bias` on.
    relu : bool, default false
        A ReLU in place after this layer. An extension (Intel's).
    stats_batch_size : int, default 0
        Items that one pair of statistics is made of, 0 for all. An extension (Intel's); only all of them are
        supported.

    Returns
    -------
    y
        Shape, layout and type of the bottom.

    Raises
    ------
    ConfigError
        If a param entry for a statistic has an lr_mult other than 0, unless `scale_bias` is on: then, as in
        NVIDIA's Caffe, the rates of the file do not count, statistics have 0 and s and t 1; or if
        stats_batch_size cuts a batch.

    Notes
    -----
    Learned blobs: sum of means (C), sum of variances (C), factor (1), all 0 at first, and s (C), t (C). The
    statistics are the sums divided by the factor; the stored variance is unbiased, the one a batch is
    normalised with is biased. Every forward over a batch updates them, whatever the phase. C is axis 1; a 1-D
    bottom has one channel. In-place use is allowed and keeps a copy. Deterministic at the same thread count.

    References
    ----------
    S. Ioffe and C. Szegedy, Batch normalization, ICML 2015 (arXiv:1502.03167).

    Examples
    --------
    ::

        layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
        layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }

    >>> from pycaffe_like.testing import run_layer
    >>> param = 'batch_norm_param { use_global_stats: false eps: 1e-12 }'
    >>> run_layer(f'type: "BatchNorm" {param}', [[1.0], [3.0]])
    [[-1.0], [1.0]]
    """

    type = "BatchNorm"
    param = "batch_norm_param"
    fields = (
        "use_global_stats",
        "moving_average_fraction",
        "eps",
        "scale_bias",
        "scale_filler",
        "bias_filler",
    )
    ignored = {
        "engine": "chooses among implementations, of which there is one",
        "use_weight_bias": "of Intel's engines, where a Scale layer follows all the same",
        "bias_term": "of Intel's engines, where a Scale layer follows all the same",
        "filler": "of Intel's engines, where a Scale layer follows all the same",
        "stats_batch_size": "refused in training, unless it is the size of the batch",
    }
    in_place = True
    layout = "channels_last"
    takes_plain = True
    constraints = {"eps": Rule(0, low_open=True), "moving_average_fraction": Rule(0, 1)}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.batch_norm_param
        use_global = param.use_global_stats if param.HasField("use_global_stats") else not layer.training
        items = bottoms[0][0] if bottoms[0] else 1
        if layer.training and not use_global and param.stats_batch_size not in (0, items):
            raise layer.error(
                f"statistics of {param.stats_batch_size} items in a batch of {items} are not supported",
                cls.param, "stats_batch_size", hint=f"set stats_batch_size: {items}, or leave it out",
            )  # fmt: skip
        return {
            "use_global_stats": use_global,
            "moving_average_fraction": float(param.moving_average_fraction),
            "eps": float(param.eps),
            "scale_bias": learns_scale(param),
            "relu": False,
            "addend": False,
        }

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """See `LayerType.learned`."""
        statistics = [Learned(schema.FillerParameter(), trained=False)] * 3
        param = layer.message.batch_norm_param
        if not learns_scale(param):
            return statistics
        one = schema.FillerParameter(value=1)
        scale = Learned(param.scale_filler if param.HasField("scale_filler") else one)
        return [*statistics, scale, Learned(param.bias_filler)]

    @classmethod
    def takes(cls, node: Node, argument: str) -> bool:
        """See `LayerType.takes`; with a scale of its own it leaves the rest to others."""
        now = node.arguments
        if learns_scale(node.definition.message.batch_norm_param):
            return False
        if argument == "scale_bias":
            return not now["scale_bias"] and not now["relu"]
        if argument == "addend":
            return node.device == "cuda" and node.propagate_down == [True] and not now["relu"]
        return argument == "relu" and not now["relu"]

    @classmethod
    def work(cls, node: Node) -> dict[str, Any]:
        """See `LayerType.work`: stored statistics can be part of the weights of the layer below."""
        if learns_scale(node.definition.message.batch_norm_param) or not node.arguments["use_global_stats"]:
            return {}
        return {"batch_norm": True, "eps": node.arguments["eps"]}

    @classmethod
    def flops(cls, node: Node) -> int:
        """See `LayerType.flops`."""
        return 2 * top_count(node)

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """See `LayerType.backward_reads_of`: the ReLU of a sum masks by the sum."""
        return Reads(bottoms=(0,), tops=bool(node.arguments["addend"] and node.arguments["relu"]))
