import io
import random
import resource
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from pycaffe_like.errors import DataError, MissingFileError
from pycaffe_like.prototxt import schema
from pycaffe_like.weights import binaryproto, blobs, solverstate
from pycaffe_like.weights import caffemodel as weights
from pycaffe_like.weights.blobs import encode_blob

GOLDEN = Path(__file__).parents[1] / "golden"
LENET = GOLDEN / "files" / "lenet" / "lenet_iter_200.caffemodel"
V1 = GOLDEN / "nets" / "upgrade" / "weights_v1.caffemodel"
STATE = GOLDEN / "solvers" / "conv_adam_poly" / "snap" / "s_iter_10.solverstate"
MEAN = GOLDEN / "files" / "mean.binaryproto"


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "file"
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return path

    return write


def net_of(blob):
    return schema.NetParameter(layer=[schema.LayerParameter(name="l", blobs=[blob])])


def blob_of(path):
    return weights.read_weights(path)[0].blobs[0]


# Reading


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, not binary protobuf\n  HDF5 is not supported here yet"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS.*\n  fetch the file itself"),
        (b"PK\x03\x04", "is a zip archive"),
    ],
)
@pytest.mark.parametrize(
    "read", [weights.read_weights, binaryproto.read_blobproto, solverstate.read_solverstate]
)
def test_file_of_another_format_is_named(file, read, start, words):
    with pytest.raises(DataError, match=words):
        read(file(start + bytes(64)))


def test_lenet_reads_as_protobuf_reads_it():
    expected = schema.NetParameter.FromString(LENET.read_bytes()).layer
    layers = weights.read_weights(LENET)
    assert [(layer.name, layer.type) for layer in layers] == [(layer.name, layer.type) for layer in expected]
    assert sum(len(layer.blobs) for layer in layers) == 8
    for layer, other in zip(layers, expected):
        for blob, message in zip(layer.blobs, other.blobs):
            assert blob.shape == tuple(message.shape.dim) == blob.data.shape
            assert not blob.legacy
            np.testing.assert_array_equal(blob.data.ravel(), np.array(message.data, np.float32))


@pytest.mark.parametrize("path", [V1, V1.with_name("weights_v1.out.caffemodel")])
def test_v1_and_its_upgrade_read_alike(path):
    layers = weights.read_weights(path)
    assert [(layer.name, layer.type) for layer in layers] == [
        ("cv", "Convolution"),
        ("re", "ReLU"),
        ("fc", "InnerProduct"),
    ]
    expected = np.load(V1.with_name("weights_v1.npz"))
    for name in expected.files:
        layer, index = name.split("/")
        blob = next(one for one in layers if one.name == layer).blobs[int(index)]
        assert blob.legacy
        np.testing.assert_array_equal(blob.data, expected[name])


def test_v0_weights_lie_in_the_nested_record(file):
    blob = schema.BlobProto(num=1, channels=1, height=1, width=2, data=[1, 2])
    net = schema.NetParameter()
    net.layers.add().layer.MergeFrom(schema.V0LayerParameter(name="c", type="conv", blobs=[blob]))
    [layer] = weights.read_weights(file(net))
    assert (layer.name, layer.type) == ("c", "Convolution")
    assert layer.blobs[0].data.tolist() == [[[[1, 2]]]]


def test_arrays_share_the_memory_of_the_file():
    data = weights.read_weights(LENET)[1].blobs[0].data
    assert not data.flags.owndata
    assert not data.flags.writeable


def test_other_fields_of_a_layer_may_be_anything(file):
    layer = schema.LayerParameter(name="l", type="T").SerializeToString()
    layer += (
        b"\x9a\x08\x03\xff\xff\xff" + b"\x1d\x00\x00\x00\x00" + b"\x23\x08\x01\x24"
    )  # message, float, group
    path = file(b"\xa2\x06" + bytes([len(layer)]) + layer)
    assert weights.read_weights(path) == [weights.LayerWeights("l", "T", [])]


def test_v1_types_of_unknown_forks_are_empty(file):
    assert weights.read_weights(file(b"\x12\x06\x22\x01n\x28\xe7\x07"))[0].type == ""


@pytest.mark.parametrize("values", [[], [3.0], [1.0, 2.0] * 500])
def test_unpacked_values_are_read(file, values):
    dims = schema.BlobShape(dim=[len(values)]).SerializeToString()
    blob = b"".join(b"\x2d" + np.float32(v).tobytes() for v in values) + b"\x3a" + bytes([len(dims)]) + dims
    body = b"\x3a" + schema_length(blob) + blob
    np.testing.assert_array_equal(blob_of(file(b"\xa2\x06" + schema_length(body) + body)).data, values)


def schema_length(data):
    return bytes([len(data) & 127 | 128, len(data) >> 7])


def test_doubles_win_over_floats(file):
    blob = schema.BlobProto(data=[1, 2], double_data=[3, 4], double_diff=[5, 1e300])
    blob.shape.dim.append(2)
    read = blob_of(file(net_of(blob)))
    assert read.data.tolist() == [3, 4]
    assert read.data.dtype == np.float32
    assert read.diff.tolist() == [5, np.inf]


@pytest.mark.parametrize(
    ("kind", "dtype"), [("DOUBLE", "f8"), ("FLOAT", "f4"), ("FLOAT16", "f2"), ("INT", "i4"), ("UINT", "u4")]
)
def test_raw_values_of_nvidia_are_read(file, kind, dtype):
    blob = schema.BlobProto(
        raw_data_type=schema.Type.Value(kind), raw_data=np.array([1, 2, 3], dtype).tobytes()
    )
    blob.shape.dim.append(3)
    assert blob_of(file(net_of(blob))).data.tolist() == [1, 2, 3]


def test_diffs_are_read(file):
    blob = schema.BlobProto(data=[1, 2], diff=[3, 4])
    blob.shape.dim.append(2)
    assert blob_of(file(net_of(blob))).diff.tolist() == [3, 4]
    blob.ClearField("diff")
    assert blob_of(file(net_of(blob))).diff is None


@pytest.mark.parametrize(
    ("shape", "legacy", "target", "fits"),
    [
        ((1, 1, 1, 10), True, (10,), True),
        ((1, 1, 5, 10), True, (5, 10), True),
        ((2, 3, 5, 10), True, (2, 3, 5, 10), True),
        ((1, 1, 1, 1), True, (), True),
        ((1, 1, 5, 10), True, (50,), False),
        ((10, 1, 1, 1), True, (10,), False),
        ((1, 1, 1, 10), True, (1, 1, 1, 1, 10), False),
        ((1, 1, 1, 10), False, (10,), False),
        ((10,), False, (10,), True),
        ((10,), False, [10], True),
        ((), False, (), True),
    ],
)
def test_legacy_shapes_are_compared_from_the_right(shape, legacy, target, fits):
    blob = blobs.BlobArray(shape, legacy, np.zeros(shape, np.float32))
    assert blobs.shapes_match(blob, target) is fits


# Refusing


@pytest.mark.parametrize(
    ("blob", "expected"),
    [
        (schema.BlobProto(data=[1, 2], shape=schema.BlobShape(dim=[3])), "shape (3,) holds 2 values"),
        (schema.BlobProto(data=[1], num=2), "shape (2, 0, 0, 0) holds 1 values"),
        (schema.BlobProto(shape=schema.BlobShape(dim=[-1])), "cannot have shape (-1,)"),
        (schema.BlobProto(shape=schema.BlobShape(dim=[1 << 31])), "cannot have shape (2147483648,)"),
        (
            schema.BlobProto(shape=schema.BlobShape(dim=[1 << 16, 1 << 15])),
            "cannot have shape (65536, 32768)",
        ),
        (schema.BlobProto(shape=schema.BlobShape(dim=[1 << 62] * 5)), "cannot have shape"),
        (schema.BlobProto(shape=schema.BlobShape(dim=[1] * 33)), "more than 32"),
        (schema.BlobProto(raw_data=b"abc", raw_data_type=1), "no multiple of 4 bytes"),
        (schema.BlobProto(raw_data=b"abc", raw_data_type=5), "unknown type 5"),
    ],
)
def test_impossible_blobs_are_refused(file, blob, expected):
    with pytest.raises(DataError) as caught:
        weights.read_weights(file(net_of(blob)))
    assert expected in str(caught.value)


def test_thirty_two_axes_are_allowed(file):
    blob = schema.BlobProto(data=[7], shape=schema.BlobShape(dim=[1] * 32))
    assert blob_of(file(net_of(blob))).data.ndim == 32


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "byte 0: there are no layers"),
        (b"\x0a\x05LeN", "byte 0: truncated: a field needs 5 bytes, 3 are left"),
        (b"\xa2\x06\x02\x0a\x05", "byte 3: truncated"),
        (b"\xff", "byte 0: truncated"),
        (b"\xff" * 11, "byte 0: number of more than ten bytes"),
        (b"\x00\x00", "byte 0: field number 0"),
        (b"\x0f", "byte 0: wire type 7"),
        (b"\x14", "byte 0: end of a group that never began"),
        (b"\x13\x14", "there are no layers"),
        (b"\x13\x1c", "byte 1: groups that overlap"),
        (b"\x13", "byte 0: truncated: a group does not end"),
        (b"\x13" * 200, "groups nested more than 100 deep"),
        (b"\x10\x01", "byte 0: field 2 is not a layer"),
    ],
)
def test_damaged_files_are_refused_at_a_byte(file, content, expected):
    path = file(content)
    with pytest.raises(DataError) as caught:
        weights.read_weights(path)
    assert str(caught.value).startswith(f"{path}: byte ")
    assert expected in str(caught.value)
    assert caught.value.hint == "is it a binary .caffemodel, completely copied?"


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        weights.read_weights(tmp_path / "missing")
    with pytest.raises(DataError, match="cannot be read"):
        weights.read_weights(tmp_path)


def test_layers_are_counted_before_memory_is_taken(file):
    assert len(weights.read_weights(file(b"\xa2\x06\x00" * weights.MAX_LAYERS))) == weights.MAX_LAYERS
    path = file(b"\xa2\x06\x00" * 3_000_000)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(DataError, match="more than 100000 layers"):
        weights.read_weights(path)
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_blobs_of_a_layer_are_limited(file):
    blob = schema.BlobProto(data=[1])
    layer = schema.LayerParameter(blobs=[blob] * weights.MAX_BLOBS)
    assert len(weights.read_weights(file(schema.NetParameter(layer=[layer])))[0].blobs) == weights.MAX_BLOBS
    layer.blobs.append(blob)
    with pytest.raises(DataError, match="more than 1000 blobs"):
        weights.read_weights(file(schema.NetParameter(layer=[layer])))


@pytest.mark.parametrize("path", [V1, V1.with_name("weights_v1.out.caffemodel"), STATE, MEAN])
def test_every_truncation_is_read_or_refused(file, path):
    content = path.read_bytes()
    refused = 0
    for size in range(0, len(content), 1 if len(content) < 1000 else 7):
        refused += not read_any(path, file(content[:size]))
    assert refused > 50


@pytest.mark.parametrize("path", [V1, V1.with_name("weights_v1.out.caffemodel"), STATE, MEAN])
def test_mutations_are_read_or_refused(file, path):
    content, rng, refused = path.read_bytes(), random.Random(7), 0
    for _ in range(1500):
        mutant = bytearray(content)
        for _ in range(rng.randint(1, 6)):
            at = rng.choice((rng.randrange(len(mutant)), rng.randrange(min(60, len(mutant)))))
            mutant[at : at + rng.choice((0, 1, 1, 1, 5))] = rng.randbytes(rng.choice((0, 1, 1, 3)))
        refused += not read_any(path, file(bytes(mutant)))
    assert 100 < refused < 1500


def read_any(kind, path):
    """Read a file as what it was made of; anything but a value or a DataError fails the test."""
    read = {".caffemodel": weights.read_weights, ".solverstate": solverstate.read_solverstate}
    try:
        read.get(kind.suffix, binaryproto.read_blobproto)(path)
    except DataError:
        return False
    return True


# Writing


def written(net_name, layers):
    stream = io.BytesIO()
    result = weights.write_weights(stream, net_name, layers)
    content = stream.getvalue()
    assert result == (len(content), zlib.crc32(content))
    return content


def test_what_caffe_wrote_is_written_again_byte_for_byte():
    content = LENET.read_bytes()
    net = schema.NetParameter.FromString(content)
    layers = weights.read_weights(LENET)
    assert (
        written(net.name, [(m, [b.data for b in w.blobs], None) for m, w in zip(net.layer, layers)])
        == content
    )


def test_weights_are_written_as_protobuf_does():
    arrays = [np.arange(6.0).reshape(2, 3), np.float32(4), np.zeros((0, 2)), np.arange(12.0).reshape(3, 4).T]
    layer = schema.LayerParameter(name="l", type="T", phase=schema.TEST, top=["t"], clip_param={"min": 1})
    expected = schema.NetParameter(name="n", layer=[layer])
    for array in arrays:
        blob = expected.layer[0].blobs.add(data=np.ravel(array), diff=-np.ravel(array))
        if np.shape(array):
            blob.shape.dim.extend(np.shape(array))
    layer.blobs.add(data=[1])  # is not written
    assert written("n", [(layer, arrays, [-a for a in arrays])]) == expected.SerializeToString()


def test_weights_beyond_protobufs_limit_are_refused(monkeypatch):
    stream = io.BytesIO()
    monkeypatch.setattr(weights, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="more than protobuf can read"):
        weights.write_weights(stream, "n", [(schema.LayerParameter(), [np.zeros(30)], None)])
    assert stream.getvalue() == b""


def test_mean_images_are_read_and_written(tmp_path):
    blob = binaryproto.read_blobproto(MEAN)
    assert (blob.shape, blob.legacy) == ((1, 1, 28, 28), True)
    binaryproto.write_blobproto(tmp_path / "mean", blob.data, legacy_dims=True)
    assert (tmp_path / "mean").read_bytes() == MEAN.read_bytes()
    binaryproto.write_blobproto(tmp_path / "mean", blob.data[0])
    assert (binaryproto.read_blobproto(tmp_path / "mean").shape) == (1, 28, 28)


def test_blob_messages_become_arrays_and_back():
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    message = blobs.array_to_blobproto(array, -array)
    assert list(message.shape.dim) == [1, 2, 3]
    np.testing.assert_array_equal(blobs.blobproto_to_array(message), array)
    np.testing.assert_array_equal(blobs.blobproto_to_array(message, return_diff=True), -array)
    message.ClearField("diff")
    with pytest.raises(DataError, match="no diff"):
        blobs.blobproto_to_array(message, return_diff=True)


# Solver states


def test_solver_state_is_written_again_byte_for_byte():
    state = solverstate.read_solverstate(STATE)
    expected = schema.SolverState.FromString(STATE.read_bytes())
    assert (state.message.iter, state.message.learned_net) == (10, expected.learned_net)
    assert len(state.history) == len(expected.history)
    assert solverstate.solverstate_bytes(state.message, state.history, checksum=False) == STATE.read_bytes()


def test_what_caffe_has_no_field_for_survives(file):
    message = schema.SolverState(
        iter=3, solver_type="Adam", thread_count=2, weights_bytes=1 << 40, random_seed=2**62
    )
    message.data_position.add(layer="data", record=1 << 33)
    message.loss_window.extend([0.5, 0.25])
    history = [np.arange(3, dtype=np.float32)]
    content = solverstate.solverstate_bytes(message, history)
    state = solverstate.read_solverstate(file(content))
    assert schema.SolverState.FromString(content).state_crc32 == state.message.state_crc32 > 0
    np.testing.assert_array_equal(state.history[0], history[0])
    state.message.ClearField("state_crc32")
    assert state.message == message


def test_each_damaged_byte_of_a_solver_state_is_found(file):
    content = solverstate.solverstate_bytes(
        schema.SolverState(iter=3, learned_net="w"), [np.ones(4, np.float32)]
    )
    for i in range(len(content)):
        damaged = bytearray(content)
        damaged[i] ^= 1
        try:
            state = solverstate.read_solverstate(file(bytes(damaged)))
        except DataError:
            continue
        assert not state.message.HasField("state_crc32")  # the checksum's own tag was hit


def test_fields_of_a_solver_state_are_limited(file):
    with pytest.raises(DataError, match="more than 100000 fields"):
        solverstate.read_solverstate(file(b"\xb2\xb5\x18\x00" * 100_001))
    with pytest.raises(DataError, match="not a solver state"):
        solverstate.read_solverstate(file(b"\x12\x01\xff"))


def test_blobs_are_encoded_without_a_copy():
    values = np.zeros(1000, np.float32)
    assert any(
        np.shares_memory(np.frombuffer(part, np.uint8), values)
        for part in encode_blob(values)
        if len(part) > 99
    )
