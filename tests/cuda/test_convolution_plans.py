"""cuDNN has a plan for every convolution of the models, found without a GPU from the description of one."""

import os
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from pycaffe_like.net import TEST
from pycaffe_like.pycaffe.net import Net

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = ["core/library.cpp", "math/cudnn_api.cpp", "math/cudnn_graph.cpp", "math/cudnn_plan.cpp"]
TYPES = ["float32", "tf32", "bfloat16"]
# A kernel that does all three of bias, addend and ReLU also does fewer. cuDNN takes half a second for each.
PASSES = [
    ("forward", "-"), ("forward", "bias+addend+relu"), ("data_gradient", "-"),
    ("data_gradient", "accumulates"), ("weight_gradient", "-"),
]  # fmt: skip
BATCH = 32


def folder_of(package, file):
    """Where pip has put a file of a package."""
    try:
        files = distribution(package).files
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    return next(Path(entry.locate()).resolve().parent for entry in files if entry.name == file)


@pytest.fixture(scope="module")
def planner(tmp_path_factory):
    """A function that hands lines to plan_convolutions.cpp and returns its result."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"
    if not (toolkit / "cuda_runtime_api.h").exists():
        pytest.skip(f"no CUDA toolkit in {toolkit.parent}; CUDA_HOME may say where it is")
    headers = folder_of("nvidia-cudnn-cu13", "cudnn_graph.h")
    folders = [
        folder_of("nvidia-cudnn-cu13", "libcudnn.so.9"),
        folder_of("nvidia-cublas", "libcublasLt.so.13"),
        folder_of("nvidia-cuda-nvrtc", "libnvrtc.so.13"),
    ]
    build = tmp_path_factory.mktemp("planner")
    driver, program = build / "libcuda.so.1", build / "plan_convolutions"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", driver, HERE / "no_driver.c"], check=True)
    layers = ROOT / "layers_cuda"
    includes = ["-I", layers, "-I", ROOT / "layers_cpp", "-isystem", headers, "-isystem", toolkit]
    sources = [HERE / "plan_convolutions.cpp", *(layers / source for source in SOURCES)]
    subprocess.run(["g++", "-std=c++20", "-o", program, *includes, *sources], check=True)

    def plan(lines, folders=folders):
        return subprocess.run(
            [program, HERE / "h200.json", *folders], input="\n".join(lines), text=True, capture_output=True,
            env={"LD_LIBRARY_PATH": str(build)},
        )  # fmt: skip

    return plan


def geometries():
    """Every convolution of the models, in the words of plan_convolutions.cpp."""
    found = {}
    for model in sorted((ROOT / "models").glob("*/deploy.prototxt")):
        net = Net(str(model), TEST, fill=False)
        for node in net.graph.nodes:
            if node.definition.type == "Convolution":
                found.setdefault(geometry(node), f"{model.parent.name} {node.name}")
        net.close()
    return found


def geometry(node):
    x, y = node.bottoms[0].shape, node.tops[0].shape
    values = node.kind.arguments(node.definition, [x])
    numbers = [BATCH, x[1], y[1], values["group"], len(x) - 2, *x[2:], *y[2:]]
    for name in ("kernel", "stride", "pad", "dilation"):
        numbers += values[name]
    return " ".join(str(number) for number in numbers)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_convolution_of_the_models_has_a_plan(planner, dtype, capsys):
    found = geometries()
    cases = [(*which, shape) for which in PASSES for shape in found]
    result = planner(f"{which} {dtype} {epilogue} {shape}" for which, epilogue, shape in cases)
    assert result.returncode == 0, result.stderr
    plans = dict(zip(cases, result.stdout.splitlines(), strict=True))
    missing = [case for case, plan in plans.items() if plan == "none"]
    assert not missing
    bare = [f"{found[case[2]]} ({case[0]})" for case, plan in plans.items() if plan.startswith("bare")]
    assert not [each for each in bare if "data_gradient" in each]  # cuDNN adds gradients itself
    with capsys.disabled():
        print(f"\n{dtype}: {len(found)} convolutions; the rest by a kernel of our own:", bare)


def test_a_missing_library_is_told_with_places_and_cure(planner, tmp_path):
    result = planner([], folders=[tmp_path])
    assert result.returncode == 1
    for part in ["libcublasLt.so.13", str(tmp_path), 'pip install "pycaffe-like[cuda]"']:
        assert part in result.stderr
