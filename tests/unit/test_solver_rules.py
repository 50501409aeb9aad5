"""The update rules, alone and in whole runs, against numbers of Caffe."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from pycaffe_like.errors import ConfigError
from pycaffe_like.layer_type import layer_types
from pycaffe_like.prototxt.schema import NetParameter, SolverParameter
from pycaffe_like.prototxt.text import parse, read
from pycaffe_like.prototxt.upgrade import read_solver
from pycaffe_like.solver.lr_policy import Progress, learning_rate
from pycaffe_like.solver.types import NesterovSolver, SGDSolver, get_solver, solver_class

GOLDEN = Path(__file__).parents[1] / "golden" / "solvers"

LINEAR_NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" loss_weight: 1
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 1 weight_filler { type: "constant" value: 1 } } }
"""

# (w0, w1, b) after updates 1, 2, ...: the gradient is (4, -2, 2) throughout.
RULES = {
    'type: "SGD" base_lr: .1 momentum: .9 weight_decay: .1': [
        (0.59, 1.19, -0.4),
        (-0.1849, 1.5491, -1.16),
        (-1.2804608, 2.0567989, -2.244),
        (-2.6536610, 2.6931601, -3.6195998),
    ],
    'type: "Nesterov" base_lr: .1 momentum: .9 weight_decay: .1': [
        (0.221, 1.361, -0.76),
        (-0.8752989, 1.8690409, -1.844),
        (-2.2433484, 2.5030150, -3.2195997),
        (-3.8398468, 3.2428558, -4.8576393),
    ],
    'type: "AdaGrad" base_lr: .1 weight_decay: .1 delta: 1e-3': [
        (0.9000244, 1.0999475, -0.1999001),
        (0.8294123, 1.1704451, -0.3412715),
        (0.7717989, 1.2279170, -0.4567082),
        (0.7219318, 1.2776295, -0.5566832),
    ],
    'type: "RMSProp" base_lr: .1 rms_decay: .9': [
        (0.6837722, 1.3162278, -0.6324555),
        (0.4543565, 1.5456436, -1.0912870),
        (0.2622618, 1.7377383, -1.4754764),
        (0.0917385, 1.9082615, -1.8165231),
    ],
    'type: "AdaDelta" base_lr: 1 momentum: .9 delta: 1e-6': [
        (0.9968377, 1.0031623, -0.0063245),
        (0.9935934, 1.0064067, -0.0128134),
        (0.9902925, 1.0097075, -0.0194150),
        (0.9869480, 1.0130520, -0.0261041),
    ],
    'type: "Adam" base_lr: .1 momentum: .9 momentum2: .999 weight_decay: .1': [
        (0.9, 1.1, -0.2),
        (0.8000064, 1.1999859, -0.4),
        (0.7000237, 1.2999482, -0.6),
        (0.6000559, 1.3998775, -0.8),
    ],
    'type: "SGD" base_lr: .1 clip_gradients: 1 iter_size: 3 weight_decay: .1 regularization_type: "L1"': [
        (0.9627835, 1.0036082, -0.0272166),
        (0.9255669, 1.0072165, -0.0544331),
    ],
}


def make_solver(folder, text, net=LINEAR_NET):
    (folder / "net.prototxt").write_text(net)
    rate = "" if "base_lr" in text else "base_lr: 1"
    document = parse(
        f'net: "{folder}/net.prototxt" lr_policy: "fixed" {rate}\n{text}', SolverParameter, "solver.prototxt"
    )
    return solver_class(document)(document)


@pytest.mark.parametrize("text", RULES)
def test_rule_gives_the_weights_of_caffe(tmp_path, text):
    solver = make_solver(tmp_path, text)
    solver.net.blobs["x"].data[...] = [[1, 2], [3, -4]]
    for want in RULES[text]:
        solver.step(1)
        weights, bias = solver.net.params["ip"]
        got = np.append(weights.data, bias.data)
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-7 * max(1, np.abs(want).max()))


def write_data(folder):
    """Write the HDF5 files that the recorded nets name."""
    folder.mkdir()
    with np.load(GOLDEN / "data.npz") as data:
        for key in data.files:
            file, dataset = key.split("/")
            with h5py.File(folder / f"{file}.h5", "a") as out:
                out[dataset] = data[key]
            (folder / f"{file}_list.txt").write_text(f"data/{file}.h5\n")


class Run:
    """One trajectory: a solver at Caffe's start values, with its data."""

    def __init__(self, name, folder, monkeypatch):
        self.folder = GOLDEN / name
        needed = {layer.type for layer in read(self.folder / "net.prototxt", NetParameter).message.layer}
        if missing := needed - set(layer_types()):
            pytest.skip(f"no layer {', '.join(sorted(missing))}")
        with np.load(self.folder / "trajectory.npz") as file:
            self.golden = dict(file)
        write_data(folder / "data")
        (folder / name / "snap").mkdir(parents=True)
        (folder / name / "net.prototxt").write_text((self.folder / "net.prototxt").read_text())
        monkeypatch.chdir(folder)
        document = read_solver(self.folder / "solver.prototxt")
        self.solver = solver_class(document)(document)
        self.set_params("init")

    def params(self):
        for layer, blobs in self.solver.net.params.items():
            for index, blob in enumerate(blobs):
                yield f"{layer}/{index}", blob

    def set_params(self, tag):
        for key, blob in self.params():
            blob.data[...] = self.golden[f"{tag}/{key}"]

    def test_batches(self, count):
        """Loss and accuracy of the test net's first batches."""
        (net,) = self.solver.test_nets
        self.solver.share_weights(net)
        return [(net.forward_loss(), float(net.blobs["accuracy"].data)) for _ in range(count)]

    def check_params(self, tag):
        for key, blob in self.params():
            want = self.golden[f"{tag}/{key}"]
            moved = np.abs(want - self.golden[f"init/{key}"]).max()
            tolerance = 2e-6 * max(1, np.abs(want).max()) + 1e-3 * moved
            np.testing.assert_allclose(blob.data, want, rtol=0, atol=tolerance, err_msg=f"{tag}/{key}")

    def check_history(self, tag):
        for number, blob in enumerate(self.solver.history):
            want = self.golden[f"{tag}/history/{number}"]
            tolerance = 1e-3 * np.abs(want).max()
            np.testing.assert_allclose(blob.data, want, rtol=0, atol=tolerance, err_msg=f"history {number}")


TRAJECTORIES = sorted(path.parent.name for path in GOLDEN.glob("*/trajectory.npz"))


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_run_follows_the_trajectory_of_caffe(name, tmp_path, monkeypatch):
    run = Run(name, tmp_path, monkeypatch)
    losses, rates = [], []
    for iteration in range(20):
        run.solver.step(1)
        losses.append(run.solver._smoothed.value)
        if iteration == 0:
            run.check_params("iter1")
    run.check_params("iter20")
    run.check_history("iter20")
    np.testing.assert_allclose(losses, run.golden["loss"], rtol=1e-4, atol=1e-5)
    if "test_after20" in run.golden:
        np.testing.assert_allclose(run.test_batches(3), run.golden["test_after20"], rtol=1e-4, atol=1e-5)
    progress = Progress()
    for progress.iteration in range(25):
        rates.append(learning_rate(run.solver.param, progress))
    np.testing.assert_allclose(rates, run.golden["lr"], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["conv_adam_poly", "mlp_sgd_iter3_clip"])
def test_snapshot_of_caffe_resumes_with_its_history(name, tmp_path, monkeypatch):
    run = Run(name, tmp_path, monkeypatch)
    monkeypatch.chdir(GOLDEN)
    run.solver.restore(run.folder / "snap" / "s_iter_10.solverstate")
    assert run.solver.iter == 10
    monkeypatch.chdir(tmp_path)
    run.solver.step(10)
    run.check_params("restored20")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type: "Adamm"', "solver.prototxt:2:1: unknown solver type 'Adamm'\n  did you mean Adam"),
        ('type: "AdaGrad" momentum: 0.9', ":2:17: momentum must be 0 for type 'AdaGrad', got 0.9"),
        ('type: "RMSProp" momentum: 0.9', "momentum must be 0 for type 'RMSProp', got 0.9"),
        ('type: "RMSProp" rms_decay: 1', "rms_decay must be >= 0 and < 1 for type 'RMSProp', got 1"),
        ('type: "Adam" momentum: 1', "momentum must be >= 0 and < 1, got 1"),
        ('regularization_type: "L3"', ":2:1: unknown regularization_type 'L3'\n  known types: L1, L2"),
        ("average_loss: 0", "average_loss must be >= 1, got 0"),
        ("iter_size: 0", "iter_size must be >= 1, got 0"),
        ("momentum: nan", "solver.prototxt:2:1: momentum must be a finite number, got nan"),
        ("momentum: 9", "solver.prototxt:2:1: momentum must be >= 0 and < 1, got 9"),
        ('type: "Nesterov" momentum: 1', ":2:18: momentum must be >= 0 and < 1, got 1"),
        ("base_lr: -1", "solver.prototxt:2:1: base_lr must be >= 0, got -1"),
        ("base_lr: nan", "solver.prototxt:2:1: base_lr must be a finite number, got nan"),
        ("weight_decay: inf", "solver.prototxt:2:1: weight_decay must be a finite number, got inf"),
        ("weight_decay: -1", "solver.prototxt:2:1: weight_decay must be >= 0, got -1"),
        ("clip_gradients: nan", "solver.prototxt:2:1: clip_gradients must be a finite number, got nan"),
        ("stagelr: [1, -inf]", ":2:14: stagelr must be a finite number, got -inf"),
        ("test_interval: 5", ":2:1: test_interval is set, but test_iter is not\n  set test_iter: the number"),
        ("test_iter: 5", "test_interval must be >= 1 with test nets, got 0"),
        ("test_interval: 5 test_iter: [5, 0]", "solver.prototxt:2:33: test_iter must be >= 1, got 0"),
        ('test_net: "other.prototxt"', "test_iter needs at least 1 value(s), one for each test net, got 0"),
        ("test_iter: 5 test_interval: 1 test_state {} test_state {}", "test_state needs one entry for each"),
        ('train_net: "other.prototxt"', "net_param, train_net, train_net_param; both net and train_net are"),
        ("snapshot: 5", "solver.prototxt:2:1: snapshot is set, but snapshot_prefix is not"),
        ('snapshot: 5 snapshot_prefix: "no/such/folder/x"', "cannot write to snapshot_prefix 'no/such"),
        ("snapshot_format: HDF5", "snapshots in HDF5 are not supported"),
        ("larc: true", "field larc of SolverParameter is not supported"),
    ],
)  # fmt: skip
def test_mistake_is_refused_before_training(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        make_solver(tmp_path, text)
    assert message in str(caught.value)


def test_solve_needs_max_iter_and_step_does_not(tmp_path):
    solver = make_solver(tmp_path, "base_lr: 0.1")
    with pytest.raises(ConfigError, match=r"solver.prototxt:1:1: max_iter is not set.*\n.*set max_iter"):
        solver.solve()
    solver.step(1)
    assert solver.iter == 1


def test_solver_without_any_net_is_refused():
    document = parse('lr_policy: "fixed" base_lr: 1', SolverParameter, "solver.prototxt")
    with pytest.raises(ConfigError, match="none is given"):
        SGDSolver(document)


def test_class_decides_the_rule_and_get_solver_asks_the_file(tmp_path):
    (tmp_path / "net.prototxt").write_text(LINEAR_NET)
    path = tmp_path / "solver.prototxt"
    path.write_text(f'net: "{tmp_path}/net.prototxt" lr_policy: "fixed" base_lr: 1 type: "Nesterov"')
    assert type(get_solver(path)) is NesterovSolver
    assert SGDSolver(path).type == "SGD"


def test_base_lr_and_callbacks_take_effect_at_once(tmp_path):
    solver = make_solver(tmp_path, 'type: "SGD" base_lr: 1')
    solver.net.blobs["x"].data[...] = 1
    events = []
    solver.add_callback(lambda: events.append("start"), lambda: events.append("ready"))
    solver.param.base_lr = 0.5
    solver.step(2)
    assert solver.lr == 0.5
    assert solver.iter == 2
    assert events == ["start", "ready"] * 2
    np.testing.assert_array_equal(solver.net.params["ip"][0].data, [[-1, -1]])


def test_apply_update_counts_as_an_iteration(tmp_path):
    solver = make_solver(tmp_path, 'type: "SGD" base_lr: 0.5')
    solver.net.params["ip"][0].diff[...] = 1
    solver.apply_update()
    assert solver.iter == 1
    np.testing.assert_array_equal(solver.net.params["ip"][0].data, [[0.5, 0.5]])
