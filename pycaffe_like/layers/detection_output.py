"""DetectionOutput: SSD's last layer, from scores and offsets of prior boxes to detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import Bottom, Reads, Top
from ..layer_type import LayerType, Shape
from ..prototxt.definition import LayerDefinition
from ..rules import Rule

_LOWEST = -3.4028234663852886e38  # float32
_OF_YOLO = ("side", "num_box", "coords", "nms_threshold", "biases", "label_map_file")
_SAVING = ("output_directory", "label_map_file", "name_size_file")


class DetectionOutput(LayerType):
    """SSD's detections: ``rows = [image, class, score, xmin, ymin, xmax, ymax]`` of the boxes that are best.

    For every image and class but the background: the scores above `confidence_threshold`, the best `top_k` of
    them, without those whose boxes overlap a better one by more than `nms_threshold` (intersection by union);
    then the best `keep_top_k` of the image.

    Parameters
    ----------
    num_classes : int >= 1
        C, the background included. Required.
    share_location : bool, default true
        All classes have one box for each prior (L = 1); false: each has its own (L = C).
    background_label_id : int, default 0
        Class that is left out; -1, or any number that is no class, for none.
    confidence_threshold : float, optional
        Only scores above it count; by default all but minus infinity.
    nms_param.nms_threshold : float >= 0, default 0.3
        Greatest overlap with a better box of the same class.
    nms_param.top_k : int, default -1
        How many candidates of a class are looked at, 0 included; negative: all.
    nms_param.eta : float > 0 and <= 1, default 1
        After every box that stays the threshold is multiplied by it, as long as it is above 0.5.
    keep_top_k : int, default -1
        Most detections of an image; negative: no limit.
    code_type : {"CORNER", "CENTER_SIZE", "CORNER_SIZE"}, default CORNER
        What the offsets d do to a prior box: move its corners by d; its centre by d times its size, and its
        size by the factor exp(d); or its corners by d times its size.
    variance_encoded_in_target : bool, default false
        The offsets are not to be multiplied by the priors' variances.
    save_output_param : SaveOutputParameter, optional
        Accepted unless it asks for files: the detections are the top's.

    Returns
    -------
    detections : (1, 1, K, 7)
        For offsets (N, P L 4), scores (N, P C) and priors (1, 2, P 4) of boxes and variances. Sorted by
        image, class, and falling score. Without any detection, N rows [image, -1, -1, -1, -1, -1, -1].

    Raises
    ------
    ConfigError
        If num_classes is missing, a threshold or eta out of bounds, or `visualize`, saving of files, or a
        field of YOLO's, RefineDet's or OpenCV's layer of this name is asked for.
    ShapeError
        If offsets, scores and priors do not belong together.
    DataError
        At forward, for a prior box without a size, unless CORNER.

    Notes
    -----
    An image as a fourth bottom is accepted and not read. Boxes are not clipped to the image. Of equal scores
    the lower class comes first, then the earlier prior; scores that are NaN are no detections. K is known
    only when the layer runs: before, a net shows the most there can be. Everything is float32 in a bfloat16
    plan too. Runs on the CPU, in all its threads; in a net on the GPU between copies. Deterministic. There is
    no gradient.

    References
    ----------
    W. Liu et al., SSD: Single shot multibox detector, ECCV 2016.

    Examples
    --------
    ::

        layer {
          name: "detection_out" type: "DetectionOutput" bottom: "mbox_loc" bottom: "mbox_conf_flatten"
          bottom: "mbox_priorbox" top: "detection_out" include { phase: TEST }
          detection_output_param {
            num_classes: 21 code_type: CENTER_SIZE keep_top_k: 200 confidence_threshold: 0.01
            nms_param { nms_threshold: 0.45 top_k: 400 }
          }
        }

    >>> from pycaffe_like.testing import run_layer
    >>> offsets, scores = [[0.0, 0.0, 1.0, 1.0]], [[0.25, 0.75]]
    >>> priors = [[[0.25, 0.25, 0.5, 0.5], [0.25, 0.25, 0.25, 0.25]]]
    >>> layer = 'type: "DetectionOutput" detection_output_param { num_classes: 2 }'
    >>> run_layer(layer, offsets, scores, priors)
    [[[[0.0, 1.0, 0.75, 0.25, 0.25, 0.75, 0.75]]]]
    """

    type = "DetectionOutput"
    param = "detection_output_param"
    fields = (
        "num_classes", "share_location", "background_label_id", "nms_param", "code_type",
        "keep_top_k", "variance_encoded_in_target", "confidence_threshold", "visualize", "normalized_bbox",
    )  # fmt: skip
    ignored = {
        "save_output_param": "files are written with its output_directory only, which is refused",
        "visualize_threshold": "nothing is drawn",
        "save_file": "the video of what is drawn",
    }
    bottoms = (
        Bottom("offsets", exact=True, plain=True, gradient=False),
        Bottom("scores", exact=True, plain=True, gradient=False),
        Bottom("priors", exact=True, plain=True, gradient=False),
        Bottom("image", gradient=False, least=0),
    )
    tops = (Top("detections", exact=True, plain=True),)
    precision = "float32"
    backward_reads = Reads()
    constraints = {"num_classes": Rule(low=1, high=100000, required=True), "confidence_threshold": Rule()}

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """See `LayerType.check`."""
        super().check(layer)
        param = layer.message.detection_output_param
        _refuse_other_forks(layer)
        if param.visualize:
            raise layer.error("drawing is not supported", cls.param, "visualize", hint="draw the top's boxes")
        if all(param.save_output_param.HasField(field) for field in _SAVING):
            hint = "remove output_directory, and take the detections from the top"
            path = (cls.param, "save_output_param", "output_directory")
            raise layer.error("saving detections is not supported", *path, hint=hint)
        nms = param.nms_param
        for field, rule in (("nms_threshold", Rule(low=0)), ("eta", Rule(0, 1, low_open=True))):
            value = getattr(nms, field)
            if value != value or not rule.accepts(value):
                problem = f"{field} must be a number {rule}, got {value:g}"
                raise layer.error(problem, cls.param, "nms_param", field)

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """See `LayerType.arguments`."""
        param = layer.message.detection_output_param
        code_type = param.DESCRIPTOR.fields_by_name["code_type"].enum_type.values_by_number[param.code_type]
        limited = param.HasField("confidence_threshold")
        return {
            "num_classes": param.num_classes,
            "share_location": param.share_location,
            "background_label_id": param.background_label_id,
            "code_type": code_type.name.lower(),
            "variance_encoded_in_target": param.variance_encoded_in_target,
            "confidence_threshold": param.confidence_threshold if limited else _LOWEST,
            "nms_threshold": param.nms_param.nms_threshold,
            "eta": param.nms_param.eta,
            "top_k": param.nms_param.top_k if param.nms_param.HasField("top_k") else -1,
            "keep_top_k": param.keep_top_k,
        }


def _refuse_other_forks(layer: LayerDefinition) -> None:
    param = layer.message.detection_output_param
    for field, _ in param.ListFields():
        if field.name in _OF_YOLO:
            raise layer.error(
                f"{field.name} is a field of YOLO's DetectionOutput, which is not supported",
                "detection_output_param", field.name,
            )  # fmt: skip
    if param.HasField("objectness_score"):
        problem = "objectness_score is a field of RefineDet's DetectionOutput, which is not supported"
        raise layer.error(problem, "detection_output_param", "objectness_score")
    if not param.normalized_bbox:
        problem = "boxes in pixels (normalized_bbox: false) are not supported"
        raise layer.error(problem, "detection_output_param", "normalized_bbox")
