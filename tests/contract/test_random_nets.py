"""Nets that nobody wrote: whatever the plan makes of them, the numbers are those of the layers one by one."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import caffe
from pycaffe_like.testing import net_from_text

CLASSES = 3


@dataclass
class NetText:
    """A net in the making: its text, its last blob and that blob's shape."""

    channels: int
    height: int
    width: int
    blob: str = "data"
    layers: list[str] = field(default_factory=list)

    def add(self, kind, fields="", *, bottoms=None, in_place=False):
        """Append one layer; its top becomes the last blob."""
        name = f"{kind.lower()}{len(self.layers)}"
        top = self.blob if in_place else name
        links = "".join(f' bottom: "{bottom}"' for bottom in bottoms or [self.blob]) + f' top: "{top}"'
        self.layers.append(f'layer {{ name: "{name}" type: "{kind}"{links} {fields} }}')
        self.blob = top
        return top

    def convolution(self, channels, kernel=1, stride=1):
        """Append a Convolution that keeps the size, but for the stride."""
        window = f"kernel_size: {kernel} pad: {kernel // 2} stride: {stride}"
        filler = 'weight_filler { type: "msra" } bias_filler { type: "uniform" min: -0.5 max: 0.5 }'
        self.channels = channels
        self.height, self.width = (-(-size // stride) for size in (self.height, self.width))
        return self.add("Convolution", f"convolution_param {{ num_output: {channels} {window} {filler} }}")

    def normalisation(self, *, in_place):
        """Append BatchNorm and Scale."""
        self.add("BatchNorm", "batch_norm_param { use_global_stats: false }", in_place=in_place)
        scale = 'filler { type: "uniform" min: 0.5 max: 2 } bias_filler { type: "uniform" min: -1 max: 1 }'
        self.add("Scale", f"scale_param {{ bias_term: true {scale} }}", in_place=in_place)


def _convolution_block(draw, net):
    stride = draw(st.sampled_from([1, 1, 2])) if min(net.height, net.width) > 4 else 1
    net.convolution(draw(st.sampled_from([1, 3, 8, 17])), draw(st.sampled_from([1, 3])), stride)
    if draw(st.booleans()):
        net.normalisation(in_place=draw(st.booleans()))
    if draw(st.booleans()):
        slope = draw(st.sampled_from(["", "relu_param { negative_slope: 0.1 }"]))
        net.add("ReLU", slope, in_place=draw(st.booleans()))


def _pooling(draw, net):
    if min(net.height, net.width) < 4:
        return
    kernel, stride = draw(st.sampled_from([(2, 2), (3, 2), (3, 1)]))
    method = draw(st.sampled_from(["MAX", "AVE"]))
    net.add("Pooling", f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} }}")
    net.height, net.width = (-(-(size - kernel) // stride) + 1 for size in (net.height, net.width))


def _residual(draw, net):
    shortcut = net.blob
    branch = net.convolution(net.channels, 3)
    operation = draw(st.sampled_from(["SUM", "MAX", "PROD"]))
    net.add("Eltwise", f"eltwise_param {{ operation: {operation} }}", bottoms=[shortcut, branch])
    if draw(st.booleans()):
        net.add("ReLU", in_place=True)


def _inception(draw, net):
    source, widths = net.blob, draw(st.lists(st.integers(1, 9), min_size=2, max_size=3))
    branches = []
    for width in widths:
        net.blob = source
        branches.append(net.convolution(width, draw(st.sampled_from([1, 3]))))
    net.channels = sum(widths)
    net.add("Concat", bottoms=branches)


def _response_normalisation(draw, net):
    region = draw(st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]))
    net.add("LRN", f"lrn_param {{ local_size: 3 alpha: 0.1 norm_region: {region} }}")


def _dropout(draw, net):
    net.add("Dropout", in_place=draw(st.booleans()))


def _scale(draw, net):
    net.add(
        "Scale", 'scale_param { filler { type: "uniform" min: 0.5 max: 2 } }', in_place=draw(st.booleans())
    )


BLOCKS = [_convolution_block, _convolution_block, _pooling, _residual, _inception, _response_normalisation,
          _dropout, _scale]  # fmt: skip


@st.composite
def nets(draw):
    """Text of a random classification net."""
    batch, channels = draw(st.integers(2, 3)), draw(st.sampled_from([1, 3, 8]))
    net = NetText(channels, draw(st.integers(4, 9)), draw(st.integers(4, 9)))
    head = [_input("data", (batch, net.channels, net.height, net.width)), _input("label", (batch,))]
    for _ in range(draw(st.integers(1, 5))):
        draw(st.sampled_from(BLOCKS))(draw, net)
    filler = 'weight_filler { type: "xavier" }'
    if draw(st.booleans()):
        net.add("InnerProduct", f"inner_product_param {{ num_output: 9 {filler} }}")
        net.add("ReLU", in_place=True)
    net.add("InnerProduct", f"inner_product_param {{ num_output: {CLASSES} {filler} }}")
    net.add("SoftmaxWithLoss", bottoms=[net.blob, "label"])
    return "\n".join(["force_backward: true", *head, *net.layers])


def _input(name, shape):
    dims = " ".join(f"dim: {dim}" for dim in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}'


def run(text, *, fused=True, precision="float32"):
    """Build the net, run it once; returns the loss, the blobs and all gradients."""
    net = net_from_text(text, caffe.TEST, seed=3, precision=precision)
    if not fused:
        net._unfuse()
    random = np.random.default_rng(4)
    net.blobs["data"].data[...] = random.normal(size=net.blobs["data"].shape)
    net.blobs["label"].data[...] = random.integers(0, CLASSES, net.blobs["label"].shape)
    net.clear_param_diffs()
    loss = net.forward_loss()
    net.backward()
    gradients = {"data": net.blobs["data"].diff.copy()}
    for param in net.graph.params:
        gradients[f"{param.layer}/{param.index}"] = param.blob.diff.copy()
    return loss, {name: blob.data.copy() for name, blob in net.blobs.items()}, gradients


def assert_near(got, wanted, tolerance, what):
    largest = max(1.0, np.max(np.abs(wanted), initial=0.0))
    assert not np.any(~(np.abs(got - wanted) <= tolerance * largest)), what


@settings(max_examples=40)
@given(nets())
def test_fusion_changes_nothing_but_rounding(text):
    (fused_loss, fused, fused_gradients), (loss, single, gradients) = run(text), run(text, fused=False)
    assert_near(fused_loss, loss, 1e-5, "loss")
    assert list(fused) == list(single)
    for name, values in fused.items():
        assert_near(values, single[name], 1e-4, name)
    for name, values in fused_gradients.items():
        assert_near(values, gradients[name], 1e-4, name)


@settings(max_examples=30)
@given(nets())
def test_bfloat16_loss_comes_close_to_float32(text):
    wanted, _, _ = run(text)
    got, _, gradients = run(text, precision="bfloat16")
    assert abs(got - wanted) <= 2**-5 * max(1.0, wanted)
    assert all(np.isfinite(values).all() for values in gradients.values())


@settings(max_examples=20)
@given(nets(), st.sampled_from(["float32", "bfloat16"]))
def test_running_twice_gives_the_same_bits(text, precision):
    (loss, first, gradients), (again, second, others) = (run(text, precision=precision) for _ in range(2))
    assert loss == again
    assert all(values.tobytes() == second[name].tobytes() for name, values in first.items())
    assert all(values.tobytes() == others[name].tobytes() for name, values in gradients.items())
