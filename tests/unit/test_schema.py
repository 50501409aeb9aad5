import subprocess
import sys

import pytest
from google.protobuf import descriptor_pool

from pycaffe_like.prototxt import schema


def test_upstream_numbers_are_kept():
    numbers = {name: f.number for name, f in schema.LayerParameter.DESCRIPTOR.fields_by_name.items()}
    assert numbers["blobs"] == 7
    assert numbers["convolution_param"] == 106
    assert numbers["clip_param"] == 148
    assert numbers["multibox_loss_param"] == 201
    assert schema.NetParameter.DESCRIPTOR.fields_by_name["layer"].number == 100
    assert schema.SolverParameter.DESCRIPTOR.fields_by_name["weights"].number == 42


def test_defaults_are_caffes():
    assert schema.BatchNormParameter().eps == pytest.approx(1e-5)
    assert schema.PoolingParameter().stride == 1
    assert schema.FillerParameter().type == "constant"
    assert schema.SolverParameter().solver_mode == schema.SolverParameter.GPU


def test_nested_enums_are_reachable_as_in_generated_code():
    assert schema.PoolingParameter.MAX == 0
    assert schema.PoolingParameter.PoolMethod.Name(1) == "AVE"
    assert schema.V1LayerParameter.LayerType.Value("CONVOLUTION") == 4
    assert (schema.TRAIN, schema.TEST) == (0, 1)
    assert schema.Phase.Name(1) == "TEST"


def test_every_v1_field_has_a_place_in_a_layer():
    renamed = {"layer", "type", "param", "blob_share_mode", "blobs_lr", "weight_decay"}
    today = schema.LayerParameter.DESCRIPTOR.fields_by_name
    for field in schema.V1LayerParameter.DESCRIPTOR.fields:
        if field.name not in renamed:
            assert today[field.name].message_type == field.message_type, field.name


def test_caffe_pb2_is_the_schema():
    from caffe.proto import caffe_pb2

    assert caffe_pb2.NetParameter is schema.NetParameter
    assert caffe_pb2.PoolingParameter.AVE == 1
    assert {"Datum", "BlobProto", "SolverState", "TRAIN", "Phase"} <= set(caffe_pb2.__all__)


def test_default_descriptor_pool_stays_empty():
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")


def test_unknown_message_names_the_nearest():
    with pytest.raises(KeyError, match="did you mean NetParameter"):
        schema.message_class("NetParametr")
    with pytest.raises(AttributeError):
        _ = schema.NetParametr


def test_works_without_the_compiled_protobuf_runtime():
    code = (
        "from pycaffe_like.prototxt import schema; print(schema.NetParameter(name='n').SerializeToString())"
    )
    environment = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python", "PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.stdout == "b'\\n\\x01n'\n", result.stderr
