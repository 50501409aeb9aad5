"""How a net's text becomes a graph: rules, splits, loss weights, shared params, backward flags, memory."""

import gc
import logging

import numpy as np
import pytest

import caffe
from pycaffe_like import layer_type
from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import net_from_text

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 } } }\n'
LABEL = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }\n'
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }\n'


def ip(name, bottom, fields="", outputs=3):
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {fields} '
        f'inner_product_param {{ num_output: {outputs} weight_filler {{ type: "gaussian" }} }} }}\n'
    )


def relu(name, bottom, top=None, fields=""):
    return f'layer {{ name: "{name}" type: "ReLU" bottom: "{bottom}" top: "{top or name}" {fields} }}\n'


def names(net):
    return list(net._layer_names)


def build(text, phase=caffe.TRAIN, **options):
    return net_from_text(text, phase, seed=1, **options)


def refused(text, **options):
    with pytest.raises(ConfigError) as caught:
        build(text, **options)
    assert caught.value.line
    return caught.value


# Filter


@pytest.mark.parametrize(
    ("rules", "phase", "level", "stages", "stays"),
    [
        ("", caffe.TRAIN, 0, [], True),
        ("include { }", caffe.TEST, 0, [], True),
        ("exclude { }", caffe.TEST, 0, [], False),
        ("include { phase: TRAIN }", caffe.TRAIN, 0, [], True),
        ("include { phase: TRAIN }", caffe.TEST, 0, [], False),
        ("include { phase: TRAIN } include { phase: TEST }", caffe.TEST, 0, [], True),
        ("exclude { phase: TRAIN }", caffe.TEST, 0, [], True),
        ("exclude { phase: TRAIN } exclude { min_level: 1 }", caffe.TEST, 1, [], False),
        ("include { min_level: 2 }", caffe.TEST, 1, [], False),
        ("include { min_level: 2 }", caffe.TEST, 2, [], True),
        ("include { max_level: 2 }", caffe.TEST, 3, [], False),
        ("include { min_level: -1 max_level: 1 }", caffe.TEST, -1, [], True),
        ('include { stage: "a" }', caffe.TEST, 0, ["b", "a"], True),
        ('include { stage: "a" stage: "b" }', caffe.TEST, 0, ["a"], False),
        ('include { stage: "a" } include { stage: "b" }', caffe.TEST, 0, ["b"], True),
        ('include { not_stage: "a" }', caffe.TEST, 0, ["a", "b"], False),
        ('include { not_stage: "a" stage: "b" }', caffe.TEST, 0, ["b"], True),
        ('include { phase: TEST stage: "a" }', caffe.TRAIN, 0, ["a"], False),
    ],
)
def test_layer_stays_if_its_rules_fit(rules, phase, level, stages, stays):
    net = build(DATA + relu("r", "data", fields=rules), phase, level=level, stages=stages)
    assert ("r" in names(net)) == stays


def test_state_in_the_file_adds_its_stages():
    rule = 'include { stage: "a" stage: "b" }'
    text = 'state { stage: "a" level: 7 }\n' + DATA + relu("r", "data", fields=rule)
    assert "r" in names(build(text, stages=["b"]))
    assert "r" not in names(build(text, stages=["c"]))


def test_layer_keeps_its_own_phase():
    dropout = 'layer { name: "d" type: "Dropout" bottom: "data" top: "d" phase: TEST }'
    net = build(DATA + dropout, caffe.TRAIN)
    net.blobs["data"].data[...] = 1
    assert (net.forward()["d"] == 1).all()


# Splits


def test_split_is_named_after_blob_layer_and_top():
    net = build(DATA + relu("r", "data", "x") + relu("a", "x") + relu("b", "x"))
    assert names(net) == ["data", "r", "x_r_0_split", "a", "b"]
    assert net.top_names["x_r_0_split"] == ["x_r_0_split_0", "x_r_0_split_1"]
    assert net.bottom_names["b"] == ["x_r_0_split_1"]


def test_split_follows_the_last_in_place_layer():
    in_place = relu("r1", "ip", "ip") + relu("r2", "ip", "ip")
    net = build(DATA + ip("ip", "data") + in_place + relu("a", "ip") + relu("b", "ip"))
    assert names(net) == ["data", "ip", "r1", "r2", "ip_r2_0_split", "a", "b"]


def test_reading_a_blob_twice_in_one_layer_counts_twice():
    eltwise = 'layer { name: "e" type: "Eltwise" bottom: "data" bottom: "data" top: "e" }'
    net = build(DATA + eltwise)
    assert net.bottom_names["e"] == ["data_data_0_split_0", "data_data_0_split_1"]


def test_blob_that_is_overwritten_after_another_reader_is_a_duplicate_top():
    error = refused(DATA + ip("y", "data") + relu("reader", "y") + relu("r", "y", "y"))
    assert (error.layer, error.line) == ("r", 4)
    assert "'y'" in error.problem


def test_unknown_bottom_is_named_with_its_index_and_the_nearest_blob():
    error = refused(DATA + 'layer { name: "c" type: "Concat" bottom: "data" bottom: "dato" top: "c" }')
    assert error.layer == "c"
    assert "'dato'" in error.problem
    assert "1" in error.problem
    assert "data" in error.hint


def test_mistyped_top_is_named_with_its_layer():
    error = refused(DATA + ip("fc6", "data").replace('top: "fc6"', 'top: "fc_6"') + relu("r", "fc6"))
    assert error.hint == "did you mean 'fc_6' of layer 'fc6'?"


def test_type_of_caffe_that_is_missing_is_no_typo(monkeypatch):
    known = dict(layer_type.layer_types())
    del known["ReLU"]
    monkeypatch.setattr(layer_type, "layer_types", lambda: known)
    error = refused(DATA + relu("r", "data"))
    assert error.problem == "layer type 'ReLU' of Caffe or one of its forks is not in this version"
    assert "did you mean" not in error.hint


def test_wrong_name_of_a_blob_lists_near_ones():
    net = build(DATA + ip("fc6", "data"))
    with pytest.raises(KeyError, match="there is no 'fc7'; did you mean fc6"):
        net.blobs["fc7"]
    with pytest.raises(KeyError, match="there is no 'data'; there are fc6"):
        net.params["data"]


def test_unknown_type_names_the_nearest_one():
    error = refused(DATA + 'layer { name: "c" type: "Relu" bottom: "data" top: "c" }')
    assert "'Relu'" in error.problem
    assert "ReLU" in error.hint


# Loss weights


def test_loss_weight_of_a_blob_with_a_reader_moves_to_the_split():
    net = build(DATA + ip("x", "data", "loss_weight: 2") + relu("r", "x"))
    split = net.graph.nodes[2]
    assert split.name == "x_x_0_split"
    assert split.loss_weights == [2, 0]
    assert net.graph.nodes[1].loss_weights == [0]
    assert net.bottom_names["r"] == ["x_x_0_split_1"]
    net.blobs["data"].data[...] = 1
    loss = net.forward_loss()
    assert loss == pytest.approx(2 * net.blobs["x"].data.sum(), rel=1e-6)


def test_loss_of_a_loss_layer_with_a_reader_counts_once():
    weighted = LOSS.replace("top:", "loss_weight: 3 top:")
    net = build(DATA + LABEL + ip("ip", "data") + weighted + relu("r", "loss"))
    net.blobs["data"].data[...] = np.arange(12).reshape(4, 3)
    assert net.forward_loss() == pytest.approx(3 * float(net.blobs["loss"].data), rel=1e-6)


def test_implicit_loss_weight_makes_no_split():
    net = build(DATA + LABEL + ip("ip", "data") + LOSS + relu("r", "loss"))
    assert "loss_loss_0_split" not in names(net)
    assert net.blob_loss_weights["loss"] == 1


def test_wrong_number_of_loss_weights_is_refused():
    error = refused(DATA + relu("r", "data", fields="loss_weight: 1 loss_weight: 2"))
    assert error.layer == "r"
    assert "got 2" in error.problem


def test_wrong_number_of_propagate_down_is_refused():
    error = refused(DATA + relu("r", "data", fields="propagate_down: true propagate_down: false"))
    assert error.layer == "r"
    assert "got 2" in error.problem


# Params


def test_params_of_one_name_share_data_and_diff():
    shared = 'param { name: "w" } param { name: "b" }'
    net = build(DATA + LABEL + ip("one", "data", shared) + ip("ip", "one", shared) + LOSS)
    for first, second in zip(net.params["one"], net.params["ip"]):
        assert first.data_id == second.data_id
        assert first.diff_id == second.diff_id
    assert [(param.layer, param.index) for param in net.graph.learnable] == [("one", 0), ("one", 1)]
    net.blobs["data"].data[...] = np.arange(12).reshape(4, 3)
    net.clear_param_diffs()
    net.forward()
    net.backward()
    assert np.abs(net.params["one"][0].diff).sum() > 0


def test_strict_sharing_needs_equal_shapes():
    error = refused(DATA + ip("a", "data", 'param { name: "w" }') + ip("b", "data", 'param { name: "w" }', 5))
    assert (error.layer, error.line) == ("b", 3)
    for word in ("'w'", "'a'", "(3, 3)", "(5, 3)"):
        assert word in error.problem


def test_permissive_sharing_needs_equal_counts_and_keeps_shapes():
    six = 'layer { name: "six" type: "Input" top: "six" input_param { shape { dim: 4 dim: 6 } } }\n'
    first = ip("a", "data", 'param { name: "w" }', 6)
    second = ip("b", "six", 'param { name: "w" share_mode: PERMISSIVE }', 3)
    net = build(DATA + six + first + second)
    assert [list(net.params[name][0].shape) for name in "ab"] == [[6, 3], [3, 6]]
    assert net.params["a"][0].data_id == net.params["b"][0].data_id
    refused(DATA + six + first + second.replace("num_output: 3", "num_output: 4"))


@pytest.mark.parametrize("field", ["lr_mult", "decay_mult"])
def test_explicit_multipliers_of_shared_params_must_agree(field):
    first = ip("a", "data", f'param {{ name: "w" {field}: 2 }}')
    error = refused(DATA + first + ip("b", "data", f'param {{ name: "w" {field}: 3 }}'))
    assert error.layer == "b"
    for word in ("'w'", "'a'", field, "2", "3"):
        assert word in error.problem


def test_later_explicit_multiplier_holds_for_all_sharers():
    first = ip("a", "data", 'param { name: "w" }')
    net = build(DATA + first + ip("b", "data", 'param { name: "w" lr_mult: 5 }'))
    assert net.graph.learnable[0].lr_mult == 5


def test_more_param_entries_than_blobs_are_refused():
    error = refused(DATA + ip("a", "data", "param { } param { } param { }"))
    assert error.layer == "a"
    assert "3 param entries for 2" in error.problem


def test_blobs_in_the_text_are_the_initial_values():
    given = "blobs { shape { dim: 1 dim: 3 } data: 1 data: 2 data: 3 } blobs { shape { dim: 1 } data: 4 }"
    net = build(DATA + ip("a", "data", given, 1))
    assert net.params["a"][0].data.tolist() == [[1, 2, 3]]
    assert net.params["a"][1].data.tolist() == [4]


# Backward flags


def flags(net):
    return {node.name: (node.need_backward, node.propagate_down) for node in net.graph.nodes}


def test_layers_below_the_first_param_need_no_backward():
    net = build(DATA + LABEL + relu("r", "data") + ip("ip", "r") + LOSS)
    assert flags(net) == {
        "data": (False, []), "label": (False, []), "r": (False, [False]), "ip": (True, [False]),
        "loss": (True, [True, False]),
    }  # fmt: skip


def test_frozen_layers_need_no_backward():
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    net = build(DATA + LABEL + ip("low", "data", frozen) + ip("ip", "low", "param { lr_mult: 0 }") + LOSS)
    assert flags(net)["low"] == (False, [False])
    assert flags(net)["ip"] == (True, [False])
    assert net.graph.nodes[3].param_propagate_down == [False, True]


def test_layers_that_reach_no_loss_need_no_backward():
    net = build(DATA + LABEL + ip("ip", "data") + LOSS + ip("side", "data"))
    assert flags(net)["side"] == (False, [False])


def test_propagate_down_false_stops_the_gradient():
    net = build(DATA + LABEL + ip("low", "data") + ip("ip", "low", "propagate_down: false") + LOSS)
    assert flags(net)["low"] == (False, [False])
    assert flags(net)["ip"] == (True, [False])


def test_propagate_down_true_forces_the_gradient():
    net = build(DATA + LABEL + ip("ip", "data", "propagate_down: true") + LOSS)
    assert flags(net)["ip"] == (True, [True])


def test_stale_diffs_stay_where_no_gradient_is_wanted():
    net = build(DATA + LABEL + ip("ip", "data") + LOSS)
    net.blobs["data"].diff[...] = 7
    net.forward()
    net.backward()
    assert (net.blobs["data"].diff == 7).all()


def test_force_backward_gives_every_gradient_but_that_of_labels():
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    net = build("force_backward: true\n" + DATA + LABEL + ip("ip", "data", frozen) + LOSS)
    assert flags(net)["ip"] == (True, [True])
    assert flags(net)["loss"] == (True, [True, False])
    assert net.graph.nodes[2].param_propagate_down == [True, True]
    net.blobs["data"].data[...] = np.arange(12).reshape(4, 3)
    net.forward()
    assert np.abs(net.backward()["data"]).sum() > 0


# In place, outputs


@pytest.mark.parametrize("kind", ["Concat", "Flatten", "InnerProduct", "Split"])
def test_layer_that_cannot_work_in_place_says_so(kind):
    fields = "inner_product_param { num_output: 3 }" if kind == "InnerProduct" else ""
    layer = f'layer {{ name: "l" type: "{kind}" bottom: "x" top: "x" {fields} }}'
    error = refused(DATA + ip("x", "data") + layer)
    assert error.layer == "l"
    assert "in place" in error.problem


def test_in_place_layers_share_the_memory_of_their_bottom():
    net = build(DATA + ip("x", "data") + relu("r", "x", "x"))
    assert list(net.blobs) == ["data", "x"]
    net.forward()
    assert (net.blobs["x"].data >= 0).all()


def test_outputs_are_what_nobody_reads_sorted_by_bytes():
    readers = "".join(relu(name, "data") for name in ("zebra", "Émile", "Alpha"))
    net = build(DATA + readers + relu("beta", "zebra"))
    assert net.outputs == ["Alpha", "beta", "Émile"]
    assert net.inputs == ["data"]


def test_layers_without_learned_blobs_may_have_one_name():
    net = build(
        DATA
        + relu("a", "data")
        + relu("b", "a").replace('name: "b"', 'name: "a"')
        + ip("a", "b", "").replace('top: "a"', 'top: "c"')
    )
    assert names(net) == ["data", "a", "a", "a"]
    assert list(net.params["a"][0].shape) == [3, 3]


def test_layers_with_learned_blobs_need_names_of_their_own():
    second = ip("a", "a", outputs=5).replace('top: "a"', 'top: "b"')
    error = refused(DATA + ip("a", "data") + second)
    assert "another layer with learned blobs has this name" in str(error)
    assert (error.line, error.layer) == (3, "a")


def test_weights_of_one_name_go_to_the_layer_that_learns(tmp_path):
    text = DATA + relu("a", "data", "r") + ip("a", "r")
    first, second = build(text), net_from_text(text, caffe.TRAIN, seed=2)
    first.save(tmp_path / "w.caffemodel")
    second.copy_from(tmp_path / "w.caffemodel")
    np.testing.assert_array_equal(second.params["a"][0].data, first.params["a"][0].data)


def test_weights_of_which_no_layer_fits_are_refused_unless_allowed(tmp_path):
    build(DATA + ip("a", "data")).save(tmp_path / "w.caffemodel")
    other = build(DATA + ip("b", "data"))
    with pytest.raises(ConfigError, match=r"(?s)nothing was loaded.*the file has a; the net has b"):
        other.copy_from(tmp_path / "w.caffemodel")
    other.copy_from(tmp_path / "w.caffemodel", allow_unused=True)


def test_loading_weights_reports_what_became_of_each_layer(tmp_path, caplog):
    build(DATA + ip("a", "data") + ip("b", "data") + ip("c", "data")).save(tmp_path / "w.caffemodel")
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    net = build(DATA + ip("a", "data") + ip("b", "data", frozen) + ip("d", "data"))
    with caplog.at_level(logging.INFO, "caffe"):
        net.copy_from(tmp_path / "w.caffemodel")
    rows = [line.split() for line in caplog.messages[-1].splitlines()[1:]]
    assert rows == [
        ["loaded", "2", "a,", "b"], ["reshaped", "0"], ["new", "1", "d"], ["skipped", "1", "c"],
        ["frozen", "1", "b"],
    ]  # fmt: skip


def test_weights_of_another_num_output_say_so(tmp_path):
    build(DATA + ip("a", "data", outputs=5)).save(tmp_path / "w.caffemodel")
    with pytest.raises(ConfigError, match=r"set num_output: 5, or rename the layer"):
        build(DATA + ip("a", "data")).copy_from(tmp_path / "w.caffemodel")


def test_net_without_layers_builds_and_runs():
    assert build('name: "nothing"').forward() == {}


# Memory

LENET = (
    DATA.replace("dim: 4 dim: 3", "dim: 8 dim: 1 dim: 20 dim: 20")
    + LABEL.replace("dim: 4", "dim: 8")
    + 'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" '
    'convolution_param { num_output: 16 kernel_size: 5 weight_filler { type: "xavier" } } }\n'
    + relu("relu", "conv", "conv")
    + 'layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" '
    "pooling_param { kernel_size: 2 stride: 2 } }\n" + ip("ip", "pool", outputs=10) + LOSS
)


def step(net):
    net.clear_param_diffs()
    net.forward()
    net.backward()


def test_planned_memory_is_that_of_the_arrays():
    planned = build(LENET).memory()
    pool_and_its_plain_copy = 2 * 8 * 16 * 8 * 8
    blobs = [8 * 20 * 20, 8, 8 * 16 * 16 * 16, pool_and_its_plain_copy, 8 * 10, 1]
    params = [16 * 25, 16, 10 * 1024, 10]
    assert planned.data == 4 * sum(blobs)
    assert planned.params == planned.param_diffs == 4 * sum(params)
    assert planned.total > planned.data + planned.params


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_running_does_not_change_the_planned_memory(precision):
    net = build(LENET, precision=precision)
    planned = net.memory()
    for _ in range(3):
        step(net)
    assert net.memory() == planned
    assert planned.total > 0


def test_bfloat16_halves_the_activations():
    many = LENET.replace("dim: 8", "dim: 96")  # fewer rows of an InnerProduct that learns stay float32
    wide, narrow = (build(many, precision=precision).memory() for precision in ("float32", "bfloat16"))
    assert narrow.data < 0.75 * wide.data
    assert narrow.params == wide.params


def test_test_phase_without_backward_plans_no_diffs():
    deploy = LENET.replace(LOSS, "")
    planned = build(deploy, caffe.TEST).memory()
    assert planned.diffs == planned.param_diffs == 0


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_making_and_dropping_nets_keeps_the_memory():
    for _ in range(30):
        step(build(LENET))
    gc.collect()
    before = resident_bytes()
    for _ in range(200):
        step(build(LENET))
    gc.collect()
    assert resident_bytes() - before < 5 << 20


def test_planned_memory_is_what_a_big_net_takes():
    big = LENET.replace("dim: 8", "dim: 2048", 2)
    before = resident_bytes()
    net = build(big)
    assert resident_bytes() - before < 4 << 20, "building allocates no blobs"
    step(net)
    taken = resident_bytes() - before
    assert 0.9 * net.memory().total < taken < 1.1 * net.memory().total + (8 << 20)


# Log


def test_log_tells_the_connections(caplog):
    with caplog.at_level(logging.INFO, "caffe"):
        build(DATA + LABEL + ip("ip", "data") + relu("r", "ip", "ip") + LOSS)
    for line in ("Creating Layer ip", "ip <- data", "ip -> ip", "r -> ip (in-place)", "Setting up loss",
                 "Top shape: 4 3 (12)", "Top shape: (1)", "    with loss weight 1",
                 "This network produces output loss", "Network initialization done."):  # fmt: skip
        assert line in caplog.messages
