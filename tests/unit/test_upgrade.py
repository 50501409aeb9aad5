import logging
from pathlib import Path

import pytest
from google.protobuf import text_format

from pycaffe_like.errors import ConfigError, MissingFileError
from pycaffe_like.prototxt import schema, upgrade
from pycaffe_like.prototxt import text as prototext

GOLDEN = Path(__file__).parents[1] / "golden" / "nets" / "upgrade"


def place(net, index, *path):
    position = net.layer_position(index, *path)
    return position and (position.line, position.column)


def refused(text):
    with pytest.raises(ConfigError) as caught:
        upgrade.parse_net(text, "net.prototxt")
    return str(caught.value)


@pytest.mark.parametrize("name", ["v0_data", "v0_others", "v1_data_transform", "v2_inputs_batchnorm"])
def test_nets_are_upgraded_as_caffe_does(name):
    wanted = text_format.Parse((GOLDEN / f"{name}.out.prototxt").read_text(), schema.NetParameter())
    assert upgrade.read_net(GOLDEN / f"{name}.prototxt").message == wanted


@pytest.mark.parametrize("name", ["solver_sgd", "solver_rmsprop", "solver_adam", "solver_noprefix"])
def test_solvers_are_upgraded_as_caffe_does(name):
    wanted = text_format.Parse((GOLDEN / f"{name}.out.prototxt").read_text(), schema.SolverParameter())
    assert upgrade.read_solver(GOLDEN / f"{name}.prototxt").message == wanted


@pytest.mark.parametrize("name", ["v0_data", "v1_data_transform", "v2_inputs_batchnorm"])
def test_upgrading_what_is_upgraded_changes_nothing(name):
    once = upgrade.read_net(GOLDEN / f"{name}.prototxt").message
    assert upgrade.parse_net(prototext.format(once)).message == once


def test_messages_from_elsewhere_are_upgraded_without_positions():
    old = text_format.Parse((GOLDEN / "v0_data.prototxt").read_text(), schema.NetParameter())
    before = old.SerializeToString()
    net = upgrade.net_from_message(old)
    assert net.message == upgrade.read_net(GOLDEN / "v0_data.prototxt").message
    assert net.layer_position(0) is None
    assert old.SerializeToString() == before


@pytest.mark.parametrize(
    ("layer", "path", "expected"),
    [
        (0, (), (2, 1)),
        (0, ("transform_param", "mean_file"), (2, 67)),
        (1, (), (5, 1)),
        (1, ("type",), (5, 32)),
        (1, ("convolution_param", "kernel_size", 0), (5, 59)),
        (1, ("convolution_param", "weight_filler", "std"), (6, 36)),
        (1, ("convolution_param", "pad", 0), (4, 47)),
        (1, ("bottom", 0), (4, 56)),
        (1, ("param", 1, "lr_mult"), (7, 15)),
        (1, ("param", 0, "name"), (7, 3)),
        (1, ("convolution_param", "dilation"), (5, 1)),
        (8, (), None),
    ],
)
def test_positions_follow_the_fields_of_v0(layer, path, expected):
    assert place(upgrade.read_net(GOLDEN / "v0_data.prototxt"), layer, *path) == expected


def test_positions_follow_the_fields_of_v1():
    net = upgrade.read_net(GOLDEN / "v1_data_transform.prototxt")
    assert place(net, 3, "param", 1, "decay_mult") == (12, 19)
    assert place(net, 3, "param", 0, "name") == (12, 35)
    assert place(net, 0, "transform_param", "crop_size") == (4, 5)
    assert place(net, 1, "include", 0, "stage", 0) == (7, 57)


def test_positions_follow_the_inputs():
    net = upgrade.read_net(GOLDEN / "v2_inputs_batchnorm.prototxt")
    assert place(net, 0) == (2, 1)
    assert place(net, 0, "input_param", "shape", 0, "dim", 2) == (3, 29)
    assert place(net, 1, "name") == (4, 9)
    assert place(net, 2) == (5, 1)


def test_input_dims_become_one_shape_each():
    net = upgrade.parse_net("input: 'a' input: 'b' " + " ".join(f"input_dim: {i}" for i in range(1, 9)))
    [layer] = net.message.layer
    assert list(layer.top) == ["a", "b"]
    assert [list(shape.dim) for shape in layer.input_param.shape] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert place(net, 0, "input_param", "shape", 1, "dim", 0) == place(net, 0, "input_param", "shape", 1)


def test_inputs_without_shapes_are_dropped():
    net = upgrade.parse_net("input: 'a' layer { name: 'l' }")
    assert [layer.name for layer in net.message.layer] == ["l"]
    assert not net.message.input


def test_shapes_win_over_dims():
    net = upgrade.parse_net("input: 'a' input_dim: 9 input_shape { dim: [2, 3] }")
    assert list(net.message.layer[0].input_param.shape[0].dim) == [2, 3]


def test_only_three_params_of_batch_norm_are_changed():
    net = upgrade.parse_net("layer { type: 'BatchNorm' param { lr_mult: 5 } param { lr_mult: 6 } }")
    assert [param.lr_mult for param in net.message.layer[0].param] == [5, 6]


def test_preprocessing_of_today_is_moved_with_a_warning(caplog):
    text = "layer { name: 'd' type: 'Data'\n data_param { source: 's' scale: 0.5 mirror: true } }"
    net = upgrade.parse_net(text, "net.prototxt")
    layer = net.message.layer[0]
    assert (layer.transform_param.scale, layer.transform_param.mirror) == (0.5, True)
    assert layer.data_param == schema.DataParameter(source="s")
    assert place(net, 0, "transform_param", "mirror") == (2, 38)
    assert "net.prototxt:2:27: scale belongs into transform_param" in caplog.text


def test_preprocessing_that_is_given_twice_is_ignored_with_a_warning(caplog):
    text = "layer { type: 'Data' transform_param { scale: 2 } data_param { scale: 0.5 } }"
    assert upgrade.parse_net(text, "n").message.layer[0].transform_param.scale == 2
    assert "n:1:64: scale is ignored" in caplog.text


def test_window_data_keeps_its_own_scale(caplog):
    layer = upgrade.parse_net("layer { type: 'WindowData' window_data_param { scale: 0.5 } }").message.layer[
        0
    ]
    assert layer.window_data_param.scale == 0.5
    assert not layer.HasField("transform_param")
    assert not caplog.text


def test_fields_a_v0_type_does_not_have_are_dropped_with_an_error(caplog):
    net = upgrade.parse_net("layers { layer { name: 'r' type: 'relu' num_output: 3 } }", "net.prototxt")
    assert net.message.layer[0] == schema.LayerParameter(name="r", type="ReLU")
    assert "net.prototxt:1:41: layer 'r': type relu has no num_output; dropped" in caplog.text


def test_upgrades_are_logged(caplog):
    caplog.set_level(logging.INFO)
    upgrade.read_net(GOLDEN / "v0_data.prototxt")
    assert "v0_data.prototxt: upgraded from V0 to V1" in caplog.text
    assert "v0_data.prototxt: upgraded from V1 to V2" in caplog.text


PADDING = "layers { layer { name: 'p' type: 'padding' pad: 2 } bottom: 'a' top: 'p' }\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layer { name: 'a' }\nlayers { name: 'b' }",
         "net.prototxt:2:1: the net has both `layer` and `layers`\n  `layers` is the old form"),
        ("input: 'a'\ninput: 'b' input_dim: [1, 2, 3, 4, 5]", "2:1: input 'b' has 1 of its 4 input_dim"),
        ("input: 'a'\ninput: 'b' input_shape { dim: 1 }", "2:1: input 'b' has no input_shape"),
        ("layers { layer {\n name: 'a' type: 'convv' } }",
         "2:12: layer 'a': unknown layer type 'convv' of the old format\n  did you mean conv?"),
        (PADDING + "layers { layer { name: 'r' type: 'relu' } bottom: 'p' }",
         "2:1: layer 'r': a padding layer must be followed by conv or pool with one bottom, not by relu"),
        (PADDING.replace("top", "top: 'q' top") + "layers { layer { name: 'c' type: 'conv' } bottom: 'p' }",
         "1:1: layer 'p': a padding layer must have one bottom and one top"),
    ],
)  # fmt: skip
def test_what_cannot_be_upgraded_is_named(text, expected):
    assert expected in refused(text)


def test_solver_type_and_type_exclude_each_other(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text("type: 'SGD'\nsolver_type: ADAM")
    with pytest.raises(ConfigError, match="2:1: solver_type and type are both given"):
        upgrade.read_solver(path)


def test_solver_type_keeps_its_position(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text("base_lr: 1\n solver_type: ADAM")
    assert upgrade.read_solver(path).position(("type",)).line == 2


def test_nets_inside_a_solver_are_upgraded_with_positions():
    text = "net_param { layers { type: RELU } }\n"
    text += "test_net_param { name: 'a' }\ntest_net_param {\n layers { type: TANH } }"
    solver = prototext.parse(text, schema.SolverParameter)
    net = upgrade.embedded_net(solver, "net_param")
    assert net.message.layer[0].type == "ReLU"
    net = upgrade.embedded_net(solver, "test_net_param", 1)
    assert net.message.layer[0].type == "TanH"
    assert place(net, 0, "type") == (4, 11)


def test_every_v1_type_has_a_name_today():
    assert set(upgrade.V1_TYPES) == set(schema.V1LayerParameter.LayerType.keys())
    assert set(upgrade.SOLVER_TYPES) == set(schema.SolverParameter.SolverType.keys())


def test_missing_net():
    with pytest.raises(MissingFileError):
        upgrade.read_net("missing.prototxt")
