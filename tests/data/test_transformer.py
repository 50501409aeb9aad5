import cv2
import numpy as np
import pytest
from data_records import image_file

from pycaffe_like.data.mean_file import read_mean, write_mean
from pycaffe_like.data.transformer import Transformer
from pycaffe_like.errors import ConfigError, DataError, MissingFileError
from pycaffe_like.prototxt import schema


def make_transformer(phase=schema.TRAIN, seed=1, **param):
    return Transformer(schema.TransformationParameter(**param), phase, seed)


def draw(transformer, count, height=20, width=30, first=0):
    counters = np.arange(first, first + count)
    return transformer.draw_crops(counters, np.full(count, height), np.full(count, width))


def test_test_crops_are_central():
    crops = draw(make_transformer(schema.TEST, crop_size=7), 3, height=12, width=10)
    assert crops.h_off.tolist() == [2, 2, 2]
    assert crops.w_off.tolist() == [1, 1, 1]


def test_train_crops_cover_every_place_evenly():
    crops = draw(make_transformer(crop_size=18), 39000)
    counts = np.zeros((3, 13), int)
    np.add.at(counts, (crops.h_off, crops.w_off), 1)
    assert counts.min() > 850
    assert counts.max() < 1150


def test_crops_may_be_oblong():
    for param in ({"crop_h": 5, "crop_w": 8}, {"crop_size": 8, "crop_h": 5}):
        transformer = make_transformer(schema.TEST, **param)
        assert transformer.output_shape(3, 9, 20) == (3, 5, 8)
        crops = draw(transformer, 1, height=9, width=20)
        assert (crops.h_off[0], crops.w_off[0]) == (2, 6)
    crops = draw(make_transformer(crop_h=18, crop_w=29), 1000)
    assert set(zip(crops.h_off.tolist(), crops.w_off.tolist())) == {
        (h, w) for h in range(3) for w in range(2)
    }
    with pytest.raises(ConfigError, match="a crop of 5x8 is larger than the image of 3x4x20"):
        make_transformer(crop_h=5, crop_w=8).output_shape(3, 4, 20)


def test_mirror_is_drawn_in_both_phases_and_apart_from_the_crop():
    for phase in (schema.TRAIN, schema.TEST):
        mirror = draw(make_transformer(phase, mirror=True), 20000).mirror
        assert 9700 < mirror.sum() < 10300
    crops = draw(make_transformer(mirror=True, crop_size=19), 20000)
    assert abs(np.corrcoef(crops.mirror, crops.h_off)[0, 1]) < 0.03


def test_draws_depend_on_seed_and_counter_alone():
    transformer = make_transformer(mirror=True, crop_size=5)
    whole, part = draw(transformer, 100), draw(transformer, 10, first=50)
    for all_draws, some in zip(whole, part):
        np.testing.assert_array_equal(all_draws[50:60], some)
    assert not np.array_equal(whole.h_off, draw(make_transformer(seed=2, crop_size=5), 100).h_off)


def test_nothing_is_drawn_unless_asked():
    for numbers in draw(make_transformer(), 100):
        assert not numbers.any()


def test_contradictions_are_refused(tmp_path):
    with pytest.raises(ConfigError) as caught:
        make_transformer(mean_value=[1, 2, 3]).output_shape(1, 4, 4)
    assert caught.value.hint == "give 1 mean_value"
    with pytest.raises(ConfigError, match="mean_file and mean_value"):
        make_transformer(mean_file="a", mean_value=[1])
    with pytest.raises(ConfigError, match="force_color and force_gray"):
        make_transformer(force_color=True, force_gray=True)
    with pytest.raises(ConfigError, match="crop_w without crop_h"):
        make_transformer(crop_w=3)
    write_mean(str(tmp_path / "mean"), np.zeros((3, 4, 5), np.float32))
    transformer = make_transformer(mean_file=str(tmp_path / "mean"), crop_size=2)
    assert transformer.output_shape(3, 4, 5) == (3, 2, 2)
    with pytest.raises(ConfigError, match="mean_file is of 3x4x5, the images are of 3x5x4"):
        transformer.output_shape(3, 5, 4)


def test_decode_modes():
    color = np.zeros((4, 6, 3), np.uint8)
    color[:] = (10, 20, 30)
    file = image_file(color)
    assert make_transformer().decode(file).tolist() == color.tolist()
    assert make_transformer(force_gray=True).decode(file).shape == (4, 6, 1)
    gray = image_file(color[:, :, 0])
    assert make_transformer().decode(gray).shape == (4, 6, 1)
    assert make_transformer(force_color=True).decode(gray).shape == (4, 6, 3)


def test_deep_images_need_a_mode():
    file = image_file(np.full((2, 2), 300 * 128, np.uint16))
    with pytest.raises(ValueError, match="16 bits"):
        make_transformer().decode(file, bit_depth=16)
    assert make_transformer(force_gray=True).decode(file, bit_depth=16)[0, 0, 0] == 150


def exif_rotated(file):
    """Put an EXIF block with orientation 6 (a quarter turn) into a JPEG."""
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)
    block = b"Exif\0\0" + tiff
    return file[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + file[2:]


def test_exif_orientation_counts_with_a_mode_only():
    file = exif_rotated(image_file(np.zeros((4, 6, 3), np.uint8), ".jpg"))
    assert make_transformer().decode(file).shape == (4, 6, 3)
    assert make_transformer(force_color=True).decode(file).shape == (6, 4, 3)


def test_mean_file_of_either_age_is_read(golden, tmp_path):
    means = np.load(golden / "means.npz")
    np.testing.assert_array_equal(read_mean(str(golden / "color_mean.binaryproto")), means["color_mean"][0])
    blob = schema.BlobProto(data=range(6))
    blob.shape.dim.extend([1, 2, 3])
    (tmp_path / "new").write_bytes(blob.SerializeToString())
    assert read_mean(str(tmp_path / "new")).tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_bad_mean_files_are_named(tmp_path):
    path = tmp_path / "mean"
    with pytest.raises(MissingFileError, match=r"mean: no such file"):
        read_mean(str(path))
    path.write_bytes(b"\xff\xff\xff")
    with pytest.raises(DataError, match=r"mean: .*truncated"):
        read_mean(str(path))
    path.write_bytes(schema.BlobProto(num=1, channels=1, height=2, width=2, data=[1]).SerializeToString())
    with pytest.raises(DataError, match="holds 1 values"):
        read_mean(str(path))
    path.write_bytes(schema.BlobProto(num=2, channels=1, height=1, width=1, data=[1, 2]).SerializeToString())
    with pytest.raises(DataError, match=r"shape \(2, 1, 1, 1\), not one image"):
        read_mean(str(path))


def test_opencv_keeps_its_word():
    """The decoder falls back on nothing: a file it cannot read is an error."""
    assert cv2.imdecode(np.frombuffer(b"nonsense", np.uint8), cv2.IMREAD_COLOR) is None
    with pytest.raises(ValueError, match="none of the kinds"):
        make_transformer().decode(b"nonsense")
