import logging
import os

import cv2
import numpy as np
import pytest
from helpers.golden import GOLDEN
from helpers.layer_facts import Example

import caffe
from pycaffe_like.errors import ConfigError, DataError, MissingFileError
from pycaffe_like.testing import net_from_text

EXAMPLE = Example(
    'image_data_param { source: "files/color_list.txt" root_folder: "files/" batch_size: 2 }',
    bottoms=(),
    tops=2,
)
_SIZED = EXAMPLE.fields.replace("batch_size", "new_height: 4 new_width: 4 batch_size")
_CROPPED = f"{EXAMPLE.fields} transform_param {{ crop_size: 3 }}"
FIELDS = {
    "source": None,  # another list is tried below
    "root_folder": None,  # likewise
    "new_height": _SIZED,
    "new_width": _SIZED,
    "transform_param.mean_file": (EXAMPLE.fields, '"files/color_mean.binaryproto"'),
    "transform_param.crop_h": _CROPPED,
    "transform_param.crop_w": _CROPPED,
}
BACKWARD = None
IMPOSSIBLE = []  # files and values are refused, which the tests below and the rules' own see to
TOLERANCE = (1e-6, 0.0)
FORMULA = False
RUN = False  # needs files

COUNT, BATCH = 10, 4
IMAGES = np.random.default_rng(7).integers(0, 256, (COUNT, 6, 5, 3), dtype=np.uint8)
PLANES = IMAGES.transpose(0, 3, 1, 2)


@pytest.fixture
def folder(tmp_path):
    """Ten files in a folder, one with blanks in its name, and their list; label i + 100 for file i."""
    (tmp_path / "some pictures").mkdir()
    names = [f"some pictures/{index}.png" for index in range(COUNT)]
    names[3] = "some pictures/the third one.png"
    for name, image in zip(names, IMAGES):
        cv2.imwrite(str(tmp_path / name), image)
    write_list(tmp_path, names)
    return tmp_path


def write_list(folder, names):
    (folder / "list.txt").write_text("".join(f"{name} {100 + i}\n" for i, name in enumerate(names)))


@pytest.fixture
def make_net(tmp_path):
    """Build nets of one ImageData layer; those left open are closed after the test."""
    nets = []

    def make(folder, param="", transform="", phase=caffe.TRAIN, batch=BATCH, more="", **options):
        path = tmp_path / "net.prototxt"
        path.write_text(
            'layer {\n name: "images" type: "ImageData" top: "data" top: "label"\n'
            f' transform_param {{ {transform} }}\n {more}\n image_data_param {{ source: "{folder}/list.txt"'
            f' root_folder: "{folder}/" batch_size: {batch}\n {param}\n }}\n}}\n'
        )
        nets.append(caffe.Net(str(path), phase, **options))
        return nets[-1]

    yield make
    for net in nets:
        net.close()


def take(net, count):
    """Copies of data and label of the next batches, one after the other."""
    batches = []
    for _ in range(count):
        net.forward()
        batches.append([net.blobs[top].data.copy() for top in ("data", "label")])
    return [np.concatenate(each) for each in zip(*batches)]


def refused(kind, make, *arguments, **options):
    with pytest.raises(kind) as error:
        make(*arguments, **options)
    assert error.value.layer == "images"
    return error.value


# What comes, in which order


def test_images_come_in_the_order_of_the_list_and_start_again_after_the_last(make_net, folder):
    data, label = take(make_net(folder), 6)
    order = np.arange(6 * BATCH) % COUNT
    assert np.array_equal(label, 100 + order)
    assert np.array_equal(data, PLANES[order])


def test_a_batch_may_be_larger_than_the_list(make_net, folder):
    _, label = take(make_net(folder, batch=2 * COUNT + 3), 2)
    assert np.array_equal(label, 100 + np.arange(2 * (2 * COUNT + 3)) % COUNT)


@pytest.mark.parametrize(("between", "last"), [("\n", ""), ("\n", "\n\n"), ("\r\n", "\r\n")])
def test_the_ends_of_lines_do_not_matter(make_net, folder, between, last):
    lines = ["some pictures/0.png 3", "some pictures/1.png 4"]
    (folder / "list.txt").write_bytes(f"{between.join(lines)}{last}".encode())
    assert take(make_net(folder), 1)[1].tolist() == [3, 4, 3, 4]


def test_labels_may_be_negative(make_net, folder):
    (folder / "list.txt").write_text("some pictures/0.png -1\nsome pictures/1.png +7")
    assert take(make_net(folder), 1)[1].tolist() == [-1, 7, -1, 7]


def test_gray_is_the_weighted_mean_of_the_colours(make_net, folder):
    data, _ = take(make_net(folder, "is_color: false"), 1)
    gray = IMAGES[:BATCH] @ [0.114, 0.587, 0.299]
    assert not np.any(~(np.abs(data - gray[:, None]) <= 1))


def test_gray_files_become_three_equal_channels(make_net, folder):
    cv2.imwrite(str(folder / "gray.png"), IMAGES[0, :, :, 0])
    write_list(folder, ["gray.png"])
    data, _ = take(make_net(folder), 1)
    assert np.array_equal(data, np.broadcast_to(IMAGES[0, :, :, 0], (BATCH, 3, 6, 5)))


def test_resizing_comes_before_the_crop(make_net, folder):
    transform = "crop_size: 4 mean_value: 10 scale: 0.5"
    data, _ = take(make_net(folder, "new_height: 9 new_width: 7", transform, phase=caffe.TEST), 1)
    resized = [cv2.resize(image, (7, 9)).astype(np.float32) for image in IMAGES[:BATCH]]
    wanted = (np.stack(resized)[:, 2:6, 1:5] - 10) / 2
    assert np.array_equal(data, wanted.transpose(0, 3, 1, 2))


def test_images_of_any_size_are_resized_to_one(make_net, folder):
    for index, size in enumerate([(3, 4), (50, 2), (1, 1)]):
        cv2.imwrite(str(folder / f"{index}.jpg"), np.full((*size, 3), 50 * index, np.uint8))
    write_list(folder, ["0.jpg", "1.jpg", "2.jpg"])
    data, _ = take(make_net(folder, "new_height: 4 new_width: 6", batch=3), 1)
    wanted = np.array([0, 50, 100]).reshape(3, 1, 1, 1)
    assert np.array_equal(data, np.broadcast_to(wanted, (3, 3, 4, 6)))


def test_training_crops_and_mirrors_at_random(make_net, folder):
    data, label = take(make_net(folder, transform="crop_size: 4 mirror: true", seed=1), 15)
    seen = set()
    for image, index in zip(data, label.astype(int) - 100):
        windows = {
            (h, w, step): PLANES[index][:, h : h + 4, w : w + 4][..., ::step]
            for h in range(3) for w in range(2) for step in (1, -1)
        }  # fmt: skip
        found = [key for key, window in windows.items() if np.array_equal(window, image)]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 12


def test_the_camera_held_upright_is_turned(make_net, folder):
    """A JPEG's orientation swaps height and width after the header has been read."""
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, 8:] = 255
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    (folder / "turned.jpg").write_bytes(turned)
    write_list(folder, ["turned.jpg"])
    data, _ = take(make_net(folder, transform="crop_size: 8", phase=caffe.TEST), 1)
    wanted = np.repeat([0.0, 255.0], 4).reshape(8, 1)
    assert np.abs(data - wanted).max() < 12


# Shuffled, skipped, resumed


def test_each_shuffled_pass_holds_every_image_once_in_another_order(make_net, folder):
    data, label = take(make_net(folder, "shuffle: true", batch=COUNT, seed=1), 4)
    passes = label.reshape(4, COUNT) - 100
    assert np.array_equal(np.sort(passes), np.tile(np.arange(COUNT), (4, 1)))
    assert len({tuple(each) for each in passes}) == 4
    assert np.array_equal(data, PLANES[label.astype(int) - 100])


def test_rand_skip_begins_at_one_of_the_first_images(make_net, folder):
    firsts = [int(take(make_net(folder, "rand_skip: 3", seed=seed), 1)[1][0]) for seed in range(12)]
    assert set(firsts) == {100, 101, 102}


@pytest.mark.parametrize("param", ["", "shuffle: true", "shuffle: true rand_skip: 7"])
@pytest.mark.parametrize("batches", [1, 2, 3, 7])
def test_a_net_that_is_set_to_a_position_goes_on_exactly(make_net, folder, param, batches):
    first, second = (make_net(folder, param, "crop_size: 3 mirror: true", seed=5) for _ in range(2))
    take(first, batches)
    take(second, 1)
    assert first.data_positions() == {"images": batches * BATCH}
    second.set_data_positions(first.data_positions())
    for wanted, got in zip(take(first, 4), take(second, 4)):
        assert np.array_equal(got, wanted)


def test_another_seed_holds_from_the_next_batch_on(make_net, folder):
    net, wanted = (
        make_net(folder, "shuffle: true", "crop_size: 2 mirror: true", seed=seed) for seed in (1, 2)
    )
    take(net, 2)
    take(wanted, 2)
    net.reseed(2)
    for got, each in zip(take(net, 4), take(wanted, 4)):
        assert np.array_equal(got, each)


@pytest.mark.parametrize("threads", [2, 64])
def test_threads_change_nothing_but_the_time(make_net, folder, threads):
    transform = "crop_size: 3 mirror: true"
    wanted = take(make_net(folder, "shuffle: true", transform, seed=1), 12)
    net = make_net(folder, f"shuffle: true threads: {threads}", transform, seed=1)
    for got, each in zip(take(net, 12), wanted):
        assert np.array_equal(got, each)


@pytest.mark.parametrize("prefetch", [1, 9])
def test_batches_made_ahead_count_as_private_memory(make_net, folder, prefetch):
    net = make_net(folder, more=f"data_param {{ prefetch: {prefetch} }}")
    assert net.memory().private == prefetch * 4 * BATCH * (3 * 6 * 5 + 1)


# Lists and files that are not what they should be


@pytest.mark.parametrize(
    "line",
    ["a.png", "a.png ", "a.png 1 ", "a.png circle", "a.png 7.5", "a.png 0x1", " 3", "", "a.png 2147483648",
     "a.png -2147483649", "a.png 99999999999999999999", "a.png\t3", f"a.png {'9' * 300_000}"],
)  # fmt: skip
def test_a_line_without_path_or_label_is_refused_with_its_number(make_net, folder, line):
    (folder / "list.txt").write_text(f"some pictures/0.png 1\n{line}\nsome pictures/1.png 2\n")
    error = refused(ConfigError, make_net, folder)
    assert "a line must be a path, a blank and a label" in error.problem
    assert (error.file, error.line) == (f"{folder}/list.txt", 2)
    assert len(str(error)) < 1000


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_list_is_refused(make_net, folder, text):
    (folder / "list.txt").write_text(text)
    assert "is empty" in refused(DataError, make_net, folder).problem


def test_a_missing_list_is_reported_with_the_layer(make_net, folder):
    (folder / "list.txt").unlink()
    error = refused(MissingFileError, make_net, folder)
    assert f"list file '{folder}/list.txt': there is no such file" in error.problem
    assert error.file.endswith("net.prototxt")


@pytest.mark.parametrize("name", ["list.txt", "some pictures/0.png", "some pictures/5.png"])
def test_a_pipe_is_not_waited_for(make_net, folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    error = refused(DataError, lambda: take(make_net(folder), 2))
    assert "it is not a regular file" in error.problem
    assert name in str(error)


def bad_files(folder):
    """What to do to an image, and what the error says of it."""
    path = folder / "some pictures" / "5.png"
    content = path.read_bytes()
    large = folder / "large.png"
    with open(large, "wb") as file:
        file.truncate((64 << 20) + 1)
    return {
        "missing": (path.unlink, "there is no such file"),
        "folder": (lambda: (path.unlink(), path.mkdir()), "it is not a regular file"),
        "large": (lambda: large.rename(path), "over the limit"),
        "empty": (lambda: path.write_bytes(b""), "neither JPEG nor PNG"),
        "text": (lambda: path.write_bytes(b"no picture"), "neither JPEG nor PNG"),
        "cut": (lambda: path.write_bytes(content[:-20]), "cut short"),
        "size": (lambda: cv2.imwrite(str(path), IMAGES[5][:4]), "(3, 4, 5)"),
    }


BAD_FILES = ["missing", "folder", "large", "empty", "text", "cut", "size"]


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_image_is_an_error_that_names_list_line_and_file(make_net, folder, kind):
    spoil, words = bad_files(folder)[kind]
    spoil()
    net = make_net(folder)
    net.forward()
    error = refused(DataError, net.forward)
    assert words in error.problem
    assert f"image '{folder}/some pictures/5.png'" in error.problem
    assert (error.file, error.line) == (f"{folder}/list.txt", 6)
    assert "CAFFE_ON_BAD_RECORD" in error.hint


def test_a_bad_first_image_is_an_error_when_the_net_is_built(make_net, folder):
    (folder / "some pictures" / "0.png").unlink()
    assert refused(DataError, make_net, folder).line == 1


def test_bad_images_are_skipped_where_the_environment_says_so(make_net, folder, monkeypatch, caplog):
    monkeypatch.setenv("CAFFE_ON_BAD_RECORD", "skip")
    names = [f"some pictures/{index % 3}.png" for index in range(200)]
    names[5] = "nowhere.png"
    write_list(folder, names)
    with caplog.at_level(logging.WARNING, logger="caffe"):
        data, label = take(make_net(folder), 3)
    assert label.tolist() == [100, 101, 102, 103, 104, 106, 106, 107, 108, 109, 110, 111]
    assert np.array_equal(data, PLANES[(label.astype(int) - 100) % 3])
    assert f"{folder}/list.txt:6:1: image '{folder}/nowhere.png'" in caplog.text


def test_a_name_that_is_no_text_is_shown(make_net, folder):
    (folder / "list.txt").write_bytes(b"caf\xe9\0.png 1\n")
    assert "caf\\xe9" in refused(DataError, make_net, folder).problem


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("rand_skip: 11", "rand_skip must be an int <= 10, the number of records, got 11"),
        ("new_height: 5", "new_height 5 is given alone"),
        ("new_width: 5", "new_width 5 is given alone"),
        ("new_width: 32768 new_height: 32768", "new_height times new_width must be at most 67108864"),
        ("threads: 65", "threads must be an int >= 1 and <= 64, got 65"),
    ],
)
def test_bad_parameters_are_rejected(make_net, folder, param, problem):
    error = refused(ConfigError, make_net, folder, param)
    assert problem in error.problem
    assert error.line == 6


def test_prefetch_has_a_rule_though_it_is_of_another_message(make_net, folder):
    error = refused(ConfigError, make_net, folder, more="data_param { prefetch: 0 }")
    assert "prefetch must be an int >= 1 and <= 1024, got 0" in error.problem
    assert error.line == 4


def test_a_source_must_be_given():
    text = 'layer { name: "images" type: "ImageData" top: "a" top: "b" }'
    error = refused(ConfigError, net_from_text, text)
    assert error.problem == "source is missing"
    assert "image_data_param.source" in error.hint


@pytest.mark.parametrize(("case", "step"), [(6, 1.0), (7, 0.5)])
def test_resized_images_are_within_one_step_of_those_of_caffe(monkeypatch, case, step):
    """The recordings were made with another version of OpenCV, which rounds otherwise."""
    monkeypatch.chdir(GOLDEN)
    with np.load("layers/ImageData.npz") as recorded:
        net = net_from_text(str(recorded[f"{case}/prototxt"]), caffe.TEST)
        net.forward()
        data, wanted = net.blobs["t0"].data, recorded[f"{case}/top0"]
        assert data.shape == wanted.shape
        assert not np.any(~(np.abs(data - wanted) <= step))
        assert np.array_equal(net.blobs["t1"].data, recorded[f"{case}/top1"])
