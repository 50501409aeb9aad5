"""Every field that a file sets has its effect, is refused, or stands on a list of fields without effect.

Whoever reads a message declares as `Fields` what it understands of it, and what may be set although it does
nothing, with the reason. All other fields are refused at their place. `docs/fields.md` is made of the lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from .prototxt.text import is_repeated

Path = tuple[str | int, ...]

_FORKS = {
    21: "NVIDIA's Caffe", 22: "PSPNet's and DeepLab's Caffe", 23: "SegNet's Caffe", 24: "caffe-face",
    25: "SphereFace's Caffe", 26: "a Caffe for YOLO", 27: "Intel's Caffe", 28: "FlowNet's Caffe",
    29: "MS-CNN's Caffe", 30: "OpenPose's Caffe", 31: "the Caffe of temporal segment networks",
    33: "OpenCV's Caffe", 34: "CRF-as-RNN's Caffe", 35: "happynear's Caffe", 37: "the Caffe of focal loss",
    39: "the Caffe of deformable convolution",
}  # fmt: skip
"""Forks by the thousands of a field's number, as `proto/caffe.proto` deals them out."""

_RESIZE = "`caffe convert_imageset -resize_height H -resize_width W` makes a database of one size"
_INSTEAD = {
    "SolverParameter.disabled_update": "`caffe time` measures without updates",
    "TransformationParameter.min_side": _RESIZE,
    "TransformationParameter.random_resize_param": _RESIZE,
    "TransformationParameter.resize_param": _RESIZE,
}
"""What else leads to the same end."""


@dataclass(frozen=True)
class Fields:
    """What is made of the fields of one message.

    Attributes
    ----------
    understood : tuple of str
        Fields that have their effect.
    ignored : mapping of str to str
        Fields that are accepted without effect, and why.
    """

    understood: tuple[str, ...]
    ignored: Mapping[str, str] = field(default_factory=dict)

    def within(self, message: str) -> tuple[str, ...]:
        """Names of the understood fields as those of a message of a layer."""
        return tuple(f"{message}.{name}" for name in self.understood)

    def ignored_within(self, message: str) -> dict[str, str]:
        """The ignored fields as those of a message of a layer."""
        return {f"{message}.{name}": why for name, why in self.ignored.items()}

    def unsupported(self, message: Any) -> Iterator[tuple[Path, FieldDescriptor]]:
        """Find the fields of a message, and of the messages in it, that are set and do nothing.

        Yields
        ------
        tuple of (path, descriptor)
            Names down to the field, each repeated one followed by an index.
        """
        for descriptor, value in message.ListFields():
            name, several = descriptor.name, is_repeated(descriptor)
            if name in self.ignored:
                continue
            if name not in self.understood:
                if not is_default(descriptor, value):
                    yield ((name, 0) if several else (name,)), descriptor
            elif descriptor.message_type and (inner := INNER.get(descriptor.message_type.name)):
                for index, entry in enumerate(value if several else [value]):
                    step = (name, index) if several else (name,)
                    yield from (((*step, *path), found) for path, found in inner.unsupported(entry))


INNER: Mapping[str, Fields] = {
    "BlobProto": Fields(
        (
            "num", "channels", "height", "width", "shape", "data", "double_data", "raw_data_type", "raw_data",
        ),
        dict.fromkeys(
            ("diff", "double_diff", "raw_diff", "raw_diff_type"), "gradients of a run that is over"
        ),
    ),
    "BlobShape": Fields(("dim",)),
    "FillerParameter": Fields(("type", "value", "min", "max", "mean", "std", "sparse", "variance_norm")),
    "NetState": Fields(("phase", "level", "stage")),
    "NetStateRule": Fields(("phase", "min_level", "max_level", "stage", "not_stage")),
    "NonMaximumSuppressionParameter": Fields(("nms_threshold", "top_k", "eta")),
    "ParamSpec": Fields(("name", "share_mode", "lr_mult", "decay_mult")),
}  # fmt: skip
"""Messages that stand in many others, by their names."""


def is_default(descriptor: FieldDescriptor, value: Any) -> bool:
    """Whether a field is set to what it is when it is not set."""
    return not (is_repeated(descriptor) or descriptor.message_type) and value == descriptor.default_value


def refusal(descriptor: FieldDescriptor) -> tuple[str, str]:
    """Word a field that would do nothing: the problem, and what to do."""
    message: Any = descriptor.containing_type
    fork = _FORKS.get(descriptor.number // 1000)
    instead = _INSTEAD.get(f"{message.name}.{descriptor.name}", f"it is a field of {fork}" if fork else "")
    problem = f"field {descriptor.name} of {message.name} is not supported"
    return problem, f"remove it; {instead}" if instead else "remove it"
