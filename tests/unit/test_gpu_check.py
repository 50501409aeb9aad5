"""The GPU check: a step that fails, hangs or is killed takes nothing with it, and the page tells it all."""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.duel import ContenderError
from benchmarks.gpu_check import build, speed, wheels
from benchmarks.gpu_check.__main__ import main, parse_options
from benchmarks.gpu_check.failures import SPOILT
from benchmarks.gpu_check.figures import Figures, figures_of
from benchmarks.gpu_check.program import BUILD, Settings, choose, make_stages
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.sanitizer import errors_in
from benchmarks.gpu_check.step import FAILED, FIGURES, PASSED, SKIPPED, TIMED_OUT, Outcome, Runner, Step
from benchmarks.gpu_check.suite import pytest_command, read_junit
from benchmarks.task import Task

ROOT = Path(__file__).parents[2]


def python(name, code, seconds=20, **fields):
    return Step(name, ("-c", code), seconds, **fields)


NOTE = "from benchmarks.gpu_check.figures import Figures; Figures().note(found=3); "


@pytest.fixture
def run(tmp_path):
    """Return what runs stages, and gives the outcomes in the order in which they were told."""

    def run_stages(*stages, seconds=60):
        told = {}
        environment = {"PYTHONPATH": str(ROOT)}
        Runner(tmp_path, environment, seconds, told.__setitem__).run(stages)
        return told

    return run_stages


def test_steps_are_told_apart(run):
    told = run(
        [
            python("good", NOTE),
            python("bad", NOTE + "raise SystemExit('a reason')"),
            python("crash", NOTE + "import os; print('before', flush=True); os.abort()"),
            python("idle", "from benchmarks.gpu_check.figures import cannot_run; cannot_run('no tool')"),
        ]
    )
    statuses = {name: outcome.status for name, outcome in told.items()}
    assert statuses == {"good": PASSED, "bad": FAILED, "crash": FAILED, "idle": SKIPPED}
    assert [told[name].figures for name in ("good", "bad", "crash")] == [{"found": 3}] * 3
    assert told["bad"].tail.endswith("a reason")
    assert "before\nended by signal 6" in told["crash"].tail
    assert told["idle"].tail == "no tool"


def test_step_that_hangs_is_stopped_with_its_children_and_keeps_its_figures(run, tmp_path):
    hang = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "print('child', child.pid, flush=True); time.sleep(600)"
    )
    start = time.monotonic()
    told = run([python("hang", NOTE + hang, seconds=2)], [python("next", NOTE)])
    assert time.monotonic() - start < 30
    assert told["hang"].status == TIMED_OUT
    assert told["hang"].figures == {"found": 3}
    child = told["hang"].tail.split()[-1]
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text()
    assert told["next"].status == PASSED


def test_steps_of_a_stage_run_side_by_side(run):
    wait = "import time; time.sleep(1.5)"
    start = time.monotonic()
    run([python("one", wait), python("two", wait), python("three", wait)])
    assert time.monotonic() - start < 4


def test_what_needs_a_failed_step_is_left_out(run):
    told = run(
        [python("build", "raise SystemExit(1)")],
        [python("tests", NOTE, needs=("build",)), python("device", NOTE)],
    )
    assert told["tests"].status == SKIPPED
    assert told["tests"].tail == "step build has not passed"
    assert told["device"].status == PASSED


def test_step_that_was_left_out_on_purpose_is_not_missed(run):
    assert run([python("tests", NOTE, needs=("build",))])["tests"].status == PASSED


def test_deadline_stops_what_runs_and_begins_no_more(run):
    told = run([python("long", "import time; time.sleep(600)", least=1)], [python("last", NOTE)], seconds=2)
    assert told["long"].status == TIMED_OUT
    assert told["last"].status == SKIPPED
    assert "takes 5 at least" in told["last"].tail


def test_run_that_is_stopped_tells_what_is_known(tmp_path):
    told = {}

    def stop(name, outcome):
        told[name] = outcome
        if name == "quick":
            raise KeyboardInterrupt

    runner = Runner(tmp_path, {"PYTHONPATH": str(ROOT)}, 60, stop)
    slow = python("slow", NOTE + "import time; time.sleep(600)")
    with pytest.raises(KeyboardInterrupt):
        runner.run([[slow, python("quick", "import time; time.sleep(2)")]])
    assert told["slow"].status == TIMED_OUT
    assert told["slow"].figures == {"found": 3}


def test_steps_read_each_others_figures(run):
    read = "from benchmarks.gpu_check.figures import figures_of; print(figures_of('device'))"
    told = run([python("device", NOTE)], [python("kernels", read)])
    assert told["kernels"].tail == "{'found': 3}"


def test_figures_without_a_run_are_printed(capsys, monkeypatch):
    monkeypatch.delenv(FIGURES, raising=False)
    Figures().note(rate=4.5)
    assert capsys.readouterr().out == "rate: 4.5\n"
    assert figures_of("device") == {}


def test_report_is_whole_after_each_step(tmp_path, capsys):
    report = Report(tmp_path / "out", tmp_path, commit="abc1234")
    (tmp_path / "tests.log").write_text("all of the output\n")
    report.add("tests", Outcome(FAILED, 12.34, {"tests": 7, "failed": 1}, "line\nAssertionError: 2 is not 1"))
    content = json.loads((tmp_path / "out" / "gpu-check.json").read_text())
    assert content["commit"] == "abc1234"
    assert content["steps"]["tests"] == {
        "status": "failed",
        "seconds": 12.3,
        "figures": {"tests": 7, "failed": 1},
        "tail": "line\nAssertionError: 2 is not 1",
    }
    assert (
        "| tests | failed | 12 | AssertionError: 2 is not 1, tests 7, failed 1 |"
        in (tmp_path / "out" / "gpu-check.md").read_text()
    )
    assert "all of the output" in (tmp_path / "out" / "gpu-check.log").read_text()
    assert "AssertionError: 2 is not 1" in capsys.readouterr().out


FOUND = {
    "device": {
        "device": {"name": "GPU", "driver": "580"}, "copy_gbytes": 4300.0, "bfloat16_tflops": 780.0,
        "torch": "2.11", "machine": "a processor", "system": "a system",
    },
    "tests": {
        "tests": 900, "skipped": 20, "failed": 1, "failures": ["tests.layers.test_lrn::test_a"],
        "recorded": {
            "a": {"parity": "LRN", "precision": "float32", "error": "1.0e-06"},
            "b": {"parity": "LRN", "precision": "bfloat16", "error": "4.0e-03"},
        },
    },
    "speed-resnet50": {
        "net": "resnet50", "batch": 256, "peer": "eager", "images_per_second": [4321.0, 2500.0],
        "ratio": [1.7, 1.73, 1.76], "of_peak": 0.133, "pairs": 9, "first_losses": [6.9, 6.91],
        "device_mib": [{"planned": 20000}, {"allocated": 30000, "reserved": 31000}],
        "clocks_before": {"sm_mhz": "1980"}, "clocks_after": {"sm_mhz": "1755"},
    },
    "timeline-resnet50-ours": {
        "net": "resnet50", "engine": "ours", "step_ms": 59.1, "busy_ms": 58.0, "kernels_a_step": 420.0,
        "idle_share": 0.0123, "step_ms_three_ahead": 59.0, "longest_kernels_ms": {"batch_norm_backward": 3.2},
    },
    "kernels": {"kernels": {"ReLU, forward": {"ms": 0.1, "gbytes": 4000.0, "of_copy": 0.93}}},
    "roofs-resnet50": {
        "types": {"Convolution, forward": {"steps": 53, "ms": 12.0, "gbytes": 900.0, "of_roof": 0.6}},
        "most_lost": ["conv1, forward: 1.000 ms, roof 0.200 ms"],
    },
}  # fmt: skip


def test_page_tells_all_figures(tmp_path):
    report = Report(tmp_path, tmp_path, commit="abc1234")
    for name, figures in FOUND.items():
        report.add(name, Outcome(PASSED, 1, figures, ""))
    for line in (
        "- name GPU, driver 580",
        "- PyTorch 2.11 measured: copy_gbytes 4300.0, bfloat16_tflops 780.0",
        "| tests | passed | 1 | tests 900, skipped 20, failed 1, test_lrn::test_a |",
        "| LRN | 1.0e-06 | 4.0e-03 |",
        "| resnet50 | 256 | eager | 4,321 | 2,500 | **1.73** (1.70-1.76) | 13.3% | 20,000 planned "
        "| 30,000 allocated, 31,000 reserved | 1980 - 1755 |",
        "| resnet50 | ours | 59.1 | 59.0 | 58.0 | 420.0 | 1.2% |",
        "resnet50, ours, ms a step: `batch_norm_backward` 3.200",
        "| ReLU, forward | 0.1 | 4,000.0 | 93.0% |",
        "| Convolution, forward | 53 | 12.0 | 900.0 | 60.0% |",
    ):
        assert line in report.page


def test_figures_that_make_no_sense_cost_a_section(tmp_path):
    report = Report(tmp_path, tmp_path, commit="abc1234")
    report.add("tests", Outcome(PASSED, 1, {"recorded": True}, ""))
    report.add("kernels", Outcome(PASSED, 1, FOUND["kernels"], ""))
    assert "cannot be shown: AttributeError" in report.page
    assert "| ReLU, forward |" in report.page


def test_page_of_nothing_is_a_page(tmp_path):
    assert Report(tmp_path, tmp_path, commit="abc1234").page.startswith("# GPU check")


def test_junit_file_gives_counts_failures_and_what_tests_recorded(tmp_path):
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_good(record_property): record_property('error', '1e-6')\n"
        "def test_bad(): assert 0\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "def test_broken(broken): pass\n"
        "@pytest.mark.skip\n"
        "def test_idle(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=j.xml", "."]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert read_junit(tmp_path / "j.xml") == {
        "tests": 4, "skipped": 1, "failed": 2,
        "failures": ["test_some::test_bad", "test_some::test_broken"],
        "recorded": {"test_some::test_good": {"error": "1e-6"}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        ("========= ERROR SUMMARY: 0 errors", 0),
        ("========= ERROR SUMMARY: 1 error", 1),
        ("========= RACECHECK SUMMARY: 12 hazards displayed (3 errors, 9 warnings)", 12),
        ("3 failed, 4 passed", 0),
    ],
)
def test_sanitizers_summary_is_understood(line, errors):
    assert errors_in(line) == errors


SANITIZER = """#!{python}
import sys
assert sys.argv[1:3] == ["--tool", "memcheck"] and "test_x.py" in sys.argv
print("========= Invalid __global__ write of size 4 bytes\\n1 passed in 0.1s")
print("========= ERROR SUMMARY: {errors} errors")
sys.exit({status})
"""


@pytest.mark.parametrize(("errors", "status", "outcome"), [(0, 0, PASSED), (2, 99, FAILED)])
def test_sanitizer_is_called_and_heard(run, tmp_path, monkeypatch, errors, status, outcome):
    program = tmp_path / "bin" / "compute-sanitizer"
    program.parent.mkdir()
    program.write_text(SANITIZER.format(python=sys.executable, errors=errors, status=status))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    step = Step("memcheck", ("-m", "benchmarks.gpu_check.sanitizer", "memcheck", "test_x.py"), 20)
    told = run([step])["memcheck"]
    assert told.status == outcome, told.tail
    assert told.figures == {"tests": "1 passed in 0.1s", "errors": errors}


def test_all_steps_have_names_of_their_own_and_a_limit():
    steps = [step for stage in make_stages(Settings(Path("build/gpu"))) for step in stage]
    assert len({step.name for step in steps}) == len(steps)
    assert all(step.least <= step.seconds <= 480 for step in steps)
    assert {name for step in steps for name in step.needs} == {BUILD}
    modules = {step.arguments[1] for step in steps}
    for module in modules:
        assert find_spec(module), module


def test_all_steps_that_run_tests_run_them_on_the_gpu():
    steps = [step for stage in make_stages(Settings(Path("build"))) for step in stage]
    suites = {step.name for step in steps if step.environment.get("CAFFE_TEST_DEVICE") == "cuda"}
    assert suites == {"tests", "gpu-tests", "memcheck", "racecheck"}


def test_steps_are_chosen_by_the_beginning_of_their_names():
    stages = make_stages(Settings(Path("build/gpu")))
    names = [
        [step.name for step in stage]
        for stage in choose(stages, ["build", "speed-res"], ["speed-resnet50-c"])
    ]
    assert names == [["build"], ["speed-resnet50"]]


def test_wheels_are_installed_where_the_build_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels.subprocess, "run", lambda command, check: calls.append(command))
    calls = []
    wheels.install([Path("a.whl"), Path("b.whl")], tmp_path)
    [command] = calls
    assert command[-4:] == ["--prefix", str(tmp_path), "a.whl", "b.whl"]
    assert wheels.site_folder(tmp_path).is_relative_to(tmp_path)
    assert wheels.site_folder(tmp_path).name in ("site-packages", "dist-packages")


def test_device_decides_what_is_compiled_for(monkeypatch):
    for capability, wanted in (("9.0", "90a-real"), ("8.0", "80-real"), ("12.0", "120-real")):
        answer = subprocess.CompletedProcess([], 0, f"{capability}\n")
        monkeypatch.setattr(build.subprocess, "run", lambda *args, answer=answer, **options: answer)
        assert build.architecture() == wanted


def test_command_lists_wheels_and_steps(capsys):
    assert main(["--list-wheels"]) == 0
    assert "onednn-cpu-gomp==2023.2.0" in capsys.readouterr().out
    assert main(["--list", "--emulated"]) == 0
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert first == "build  device"
    assert "same-bits" in second
    assert rest[:2] == ["kernels", "speed-lenet"]
    assert parse_options([]).seconds == 480


def test_check_needs_nothing_but_python_itself():
    code = (
        "import sys; import benchmarks.gpu_check.__main__; "
        "print([name for name in ('numpy', 'torch', 'pycaffe_like') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


SPOILED = """
import pytest
from pycaffe_like import _core as core

def raise_error():
    raise RuntimeError("an illegal memory access was encountered")

def test_fine(): pass

def test_wrong():
    assert 1 == 2, "told at once"

def test_spoils(monkeypatch):
    core.synchronize = raise_error
    raise_error()

@pytest.mark.parametrize("number", range(6))
def test_later(number): core.synchronize()
"""


@pytest.mark.parametrize(
    ("options", "status", "numbers"),
    [
        ([], SPOILT, {"tests": 3, "failed": 2}),  # one process, which ends
        pytest.param(  # the next process runs the others
            ["-n", "1"],
            1,
            {"tests": 10, "failed": 3},
            marks=pytest.mark.skipif(not find_spec("xdist"), reason="needs pytest-xdist"),
        ),
    ],
)
def test_failures_are_told_at_once_and_a_spoilt_process_is_left(tmp_path, options, status, numbers):
    (tmp_path / "test_spoiled.py").write_text(SPOILED)
    command = [*pytest_command(parallel=False), "--junitxml=result.xml", *options, "test_spoiled.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == status, result.stdout
    told, next_told = (result.stdout.index(f"::{name} (call)") for name in ("test_wrong", "test_spoils"))
    assert "told at once" in result.stdout[told:next_told]
    found = read_junit(tmp_path / "result.xml")
    assert {name: found[name] for name in numbers} == numbers


class FakeContender:
    """Ends while it is prepared: ours if it records, or always."""

    def __init__(self, task, threads):
        self.broken = task.batch == 2 or os.environ.get(speed.RECORDING) != "0"
        self.closed = False

    def prepare(self):
        if self.broken:
            raise ContenderError("ended")

    def close(self):
        self.closed = True


def test_ours_is_timed_without_recording_if_it_cannot_record(monkeypatch):
    monkeypatch.setattr(speed, "Contender", FakeContender)
    monkeypatch.setenv(speed.RECORDING, "1")
    figures = Figures()
    with pytest.raises(ContenderError):
        speed.prepared(Task("net", "train", 1, engine="eager"), figures)
    assert not figures.values
    assert not speed.prepared(Task("net", "train", 1), figures).closed
    assert figures.values == {"recording": False}
    with pytest.raises(ContenderError):
        speed.prepared(Task("net", "train", 2), figures)
