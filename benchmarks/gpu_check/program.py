"""Which steps the check has, in which order, and how long each may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.task import Task

from .step import Step

ROOT = Path(__file__).parents[2]
BUILD = "build"

BATCHES = {
    "resnet50": 256,
    "lenet": 64,
    "cifar10_quick": 100,
    "googlenet": 256,
    "caffenet": 256,
    "vgg16": 128,
    "mobilenet_v1": 256,
}
"""Most important net first."""
_SMALL_NETS = ("lenet", "cifar10_quick")

NOT_EMULATED = (
    *(f"speed-{net}" for net in BATCHES if net not in _SMALL_NETS),
    *(f"speed-{net}-graph" for net in _SMALL_NETS),
    *("agreement-googlenet", "agreement-resnet50", "timeline-resnet50-ours", "roofs-googlenet"),
)
"""What takes minutes there, or has no PyTorch to run on."""


@dataclass(frozen=True)
class Settings:
    """What a run is made of.

    Attributes
    ----------
    folder : Path
        Where it builds and works.
    wheels, fashion_mnist : Path, optional
    emulated : bool
        Rehearse on the emulated GPU, with sizes that suit it.
    """

    folder: Path
    wheels: Path | None = None
    fashion_mnist: Path | None = None
    emulated: bool = False

    @property
    def device(self) -> str:
        """As tasks name it."""
        return "emulated" if self.emulated else "cuda"

    @property
    def small(self) -> tuple[str, ...]:
        """The option of steps that have small sizes for the emulated GPU."""
        return ("--small",) if self.emulated else ()


def make_stages(settings: Settings) -> list[list[Step]]:
    """List the steps, those of a stage side by side: what takes time runs alone."""
    stages = [[_build(settings), _device(settings)], list(_correctness(settings))]
    stages += [[step] for step in _timed(settings)]
    return choose(stages, skip=NOT_EMULATED) if settings.emulated else stages


def choose(
    stages: Sequence[Sequence[Step]], only: Sequence[str] = (), skip: Sequence[str] = ()
) -> list[list[Step]]:
    """Keep the steps whose names begin with a word of `only`, if there is one, and with none of `skip`."""

    def is_wanted(step: Step) -> bool:
        return step.name.startswith(tuple(only) or "") and not step.name.startswith(tuple(skip))

    return [kept for stage in stages if (kept := [step for step in stage if is_wanted(step)])]


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("-m", f"benchmarks.gpu_check.{name}", *arguments)


def _build(settings: Settings) -> Step:
    wheels = ("--wheels", str(settings.wheels.resolve())) if settings.wheels else ()
    emulated = ("--emulated",) if settings.emulated else ()
    return Step(BUILD, _module("build", str(settings.folder.resolve()), *wheels, *emulated), seconds=420)


def _device(settings: Settings) -> Step:
    return Step("device", _module("device", "--device", settings.device, *settings.small), seconds=90)


def _correctness(settings: Settings) -> Iterator[Step]:
    """Yield what takes no times, and so may run side by side."""
    layers, contract, cuda = (str(ROOT / "tests" / name) for name in ("layers", "contract", "cuda"))
    untimed = {"CAFFE_CONVOLUTION_TIMING": "0"}  # on a GPU that many share, times mean nothing
    on_gpu = {"CAFFE_TEST_DEVICE": "cuda", **untimed}
    options = {"needs": (BUILD,), "environment": untimed}
    hostile = f"--ignore={contract}/test_hostile.py"  # about files, not about devices
    suite = _module("suite", layers, contract, cuda, hostile)
    doctor = ("-m", "pycaffe_like.tools.main", "doctor", "-gpu", "0")
    yield Step("doctor", doctor, 60, needs=(BUILD,))
    yield Step("tests", suite, 200, needs=(BUILD,), environment=on_gpu)
    marked = _module("suite", "-m", "gpu", str(ROOT / "tests"))
    yield Step("gpu-tests", marked, 120, needs=(BUILD,), environment=on_gpu)
    iterations = ("--iterations", "3") if settings.emulated else ()
    yield Step("same-bits", _module("same_bits", *iterations), 90, **options)
    yield Step("demo", _module("demo", "demo", *_demo_options(settings)), 120, **options)
    for net in ("lenet", "googlenet", "resnet50"):
        task = _task(settings, net, 4, precision="float32")
        yield Step(f"agreement-{net}", ("-m", "benchmarks.agreement", task.to_json()), 120, **options)
    parity = str(ROOT / "tests" / "cuda" / "test_parity.py")
    for tool in ("memcheck", "racecheck"):
        arguments = _module("sanitizer", tool, parity, "-m", "sanitized")
        yield Step(tool, arguments, 110, needs=(BUILD,), environment=on_gpu)


def _demo_options(settings: Settings) -> Iterator[str]:
    if settings.fashion_mnist:
        yield from ("--fashion-mnist", str(settings.fashion_mnist.resolve()))
    if settings.emulated:
        yield from ("--iterations", "2")


def _timed(settings: Settings) -> Iterator[Step]:
    """Yield what is timed, the most important first: the last ones get no time if the others took it."""
    nets = ("resnet50", *_SMALL_NETS)
    yield _speed(settings, "resnet50", "eager")
    yield Step("kernels", _module("kernels", *settings.small), 60, least=10, needs=(BUILD,))
    yield from (_speed(settings, net, "eager") for net in _SMALL_NETS)
    yield _timeline(settings, "resnet50", "ours")
    yield from (_speed(settings, net, "eager") for net in BATCHES if net not in nets)
    yield from (_speed(settings, net, "graph") for net in _SMALL_NETS)
    yield _roofs(settings, "resnet50")
    yield _timeline(settings, "lenet", "ours")
    yield _timeline(settings, "resnet50", "eager")
    yield _roofs(settings, "googlenet")
    yield replace(_speed(settings, "resnet50", "compile"), seconds=240, least=60)


def _speed(settings: Settings, net: str, peer: str) -> Step:
    task = _task(settings, net, BATCHES[net], engine=peer)
    short = ("--pairs", "2", "--seconds", "1") if settings.emulated else ()
    name = f"speed-{net}" + ("" if peer == "eager" else f"-{peer}")
    # The first run on a machine looks for the fastest kernels of each convolution.
    return Step(name, _module("speed", task.to_json(), *short), 150, least=25, needs=(BUILD,))


def _timeline(settings: Settings, net: str, engine: str) -> Step:
    task = _task(settings, net, BATCHES[net], engine=engine)
    # PyTorch itself sets these where graphs meet its profiler.
    environment = {"DISABLE_CUPTI_LAZY_REINIT": "1", "TEARDOWN_CUPTI": "0"}
    arguments = _module("timeline", task.to_json())
    return Step(f"timeline-{net}-{engine}", arguments, 60, least=20, needs=(BUILD,), environment=environment)


def _roofs(settings: Settings, net: str) -> Step:
    arguments = _module("roofs", _task(settings, net, BATCHES[net]).to_json())
    return Step(f"roofs-{net}", arguments, 60, least=15, needs=(BUILD,))


def _task(
    settings: Settings, net: str, batch: int, *, precision: str = "bfloat16", engine: str = "ours"
) -> Task:
    """Make the task of training a net; a rehearsal has two images a step."""
    path = str(ROOT / "models" / net / "train_val.prototxt")
    batch = 2 if settings.emulated else batch
    return Task(path, "train", batch, precision, engine, device=settings.device)  # type: ignore[arg-type]
