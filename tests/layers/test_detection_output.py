import math

import numpy as np
import pytest
from helpers.direct import run
from helpers.layer_facts import Example

from pycaffe_like.errors import ConfigError, DataError
from pycaffe_like.testing import layer_net, net_from_text

PRIORS = np.array(
    [
        [[0.1, 0.1, 0.5, 0.4], [0.12, 0.1, 0.5, 0.4], [0.5, 0.5, 0.9, 0.8], [0.0, 0.6, 0.3, 1.0]],
        [[0.1, 0.1, 0.2, 0.2]] * 4,
    ],
    np.float32,
).reshape(1, 2, 16)
COMMON = "num_classes: 3 code_type: CENTER_SIZE"
EXAMPLE = Example(
    f"detection_output_param {{ {COMMON} confidence_threshold: 0.1 nms_param {{ nms_threshold: 0.45 }} }}",
    bottoms=((2, 16), (2, 12), (1, 2, 16)),
    given={2: PRIORS},
)
BACKWARD = None
IMPOSSIBLE = [
    (f"detection_output_param {{ {COMMON} }}", [(2, 16), (2, 12), (1, 2, 15)], r"\(1, 2, 15\)"),
    (f"detection_output_param {{ {COMMON} }}", [(2, 16), (2, 12), (1, 16)], r"\(1, 16\)"),
    (f"detection_output_param {{ {COMMON} }}", [(2, 12), (2, 12), (1, 2, 16)], r"offsets must be \(N, 16\)"),
    (f"detection_output_param {{ {COMMON} }}", [(2, 16), (2, 16), (1, 2, 16)], r"scores must be \(N, 12\)"),
    (f"detection_output_param {{ {COMMON} }}", [(2, 16), (3, 12), (1, 2, 16)], "scores of 3"),
    (
        f"detection_output_param {{ {COMMON} share_location: false }}",
        [(2, 16), (2, 12), (1, 2, 16)], r"offsets must be \(N, 48\)",
    ),
    ("detection_output_param { num_classes: 4294967295 }", [(2, 16), (2, 12), (1, 2, 16)], "num_classes"),
]  # fmt: skip
_BASE = f"detection_output_param {{ {COMMON} confidence_threshold: 0.1 nms_param {{ nms_threshold: 0.45 }} }}"
FIELDS = {
    "nms_param": (_BASE, "{ nms_threshold: 0.9 }"),
    "num_classes": None,  # another number does not fit the bottoms
    "share_location": None,  # likewise
    "normalized_bbox": None,
    "visualize": None,
}
TOLERANCE = (1e-5, 1e-6)


def arguments(num_classes, **changes):
    return {
        "num_classes": num_classes, "share_location": True, "background_label_id": 0,
        "code_type": "center_size", "variance_encoded_in_target": False,
        "confidence_threshold": -3.4028234663852886e38, "nms_threshold": 0.45, "eta": 1.0, "top_k": -1,
        "keep_top_k": -1, **changes,
    }  # fmt: skip


def decode(kind, prior, variance, code):
    xmin, ymin, xmax, ymax = prior
    width, height = xmax - xmin, ymax - ymin
    d = variance * code
    if kind == "corner":
        return prior + d
    if kind == "corner_size":
        return prior + d * [width, height, width, height]
    x, y = (xmin + xmax) / 2 + d[0] * width, (ymin + ymax) / 2 + d[1] * height
    half = np.exp(d[2:]) * [width, height] / 2
    return np.array([x - half[0], y - half[1], x + half[0], y + half[1]])


def share(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def detections_of_class(args, scores, boxes):
    """Pairs of score and prior that stay, and their boxes."""
    order = [p for p in np.argsort(-scores, kind="stable") if scores[p] > args["confidence_threshold"]]
    kept, most = [], args["nms_threshold"]
    for p in order[: args["top_k"]] if args["top_k"] >= 0 else order:
        if all(share(boxes[p], boxes[q]) <= most for q in kept):
            kept.append(p)
            most *= args["eta"] if most > 0.5 else 1
    return kept


def oracle(args, loc, conf, priors):
    count, classes = priors.shape[2] // 4, args["num_classes"]
    corners, variances = priors.astype(np.float64).reshape(2, count, 4)
    variances = np.ones_like(variances) if args["variance_encoded_in_target"] else variances
    loc = loc.reshape(len(loc), count, 1 if args["share_location"] else classes, 4).astype(np.float64)
    rows = []
    for image, scores in enumerate(conf.reshape(len(conf), count, classes)):
        found = []
        for c in range(classes):
            if c == args["background_label_id"]:
                continue
            code = loc[image, :, 0 if args["share_location"] else c]
            boxes = np.array(
                [decode(args["code_type"], *each) for each in zip(corners, variances, code)]
            ).reshape(-1, 4)
            kept = detections_of_class(args, scores[:, c], boxes)
            found += [(-scores[p, c], c, p, [image, c, scores[p, c], *boxes[p]]) for p in kept]
        if args["keep_top_k"] >= 0:
            found = sorted(found)[: args["keep_top_k"]]
        rows += [row for *_, row in sorted(found, key=lambda each: (each[1], each[0], each[2]))]
    return np.array(rows or [[image] + [-1] * 6 for image in range(len(conf))]).reshape(1, 1, -1, 7)


def blobs(images, priors, classes, location_classes=1, seed=0):
    """Random offsets, scores with ties, and prior boxes."""
    random = np.random.default_rng(seed)
    centres, sizes = random.uniform(0, 1, (priors, 2)), random.uniform(0.1, 0.5, (priors, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], (priors, 1))
    return (
        random.standard_normal((images, priors * location_classes * 4)).astype(np.float32),
        random.integers(0, 64, (images, priors * classes)).astype(np.float32) / 64,
        np.stack([boxes, variances]).astype(np.float32).reshape(1, 2, -1),
    )


def detect(args, *bottoms):
    return run("DetectionOutput", args, *bottoms).tops[0]


CASES = {
    "all": {},
    "corner": {"code_type": "corner"},
    "corner size": {"code_type": "corner_size"},
    "encoded variance": {"variance_encoded_in_target": True},
    "own locations": {"share_location": False},
    "no background": {"background_label_id": -1, "share_location": False},
    "another background": {"background_label_id": 17},
    "threshold": {"confidence_threshold": 0.75},
    "top k": {"top_k": 5},
    "top k of nothing": {"top_k": 0},
    "no limit": {"top_k": -7, "keep_top_k": -3},
    "keep top k": {"keep_top_k": 9},
    "keep nothing": {"keep_top_k": 0},
    "keep more than there are": {"keep_top_k": 100000},
    "adaptive": {"nms_threshold": 0.9, "eta": 0.8, "top_k": 30},
    "no overlap": {"nms_threshold": 0.0},
    "any overlap": {"nms_threshold": 1.5},
    "usual": {"confidence_threshold": 0.5, "nms_threshold": 0.45, "top_k": 20, "keep_top_k": 15},
}


@pytest.mark.parametrize("classes", [2, 18, 21, 34])
@pytest.mark.parametrize("case", CASES)
def test_detections_match_the_oracle(case, classes):
    args = arguments(classes, **CASES[case])
    loc, conf, priors = blobs(2, 61, classes, 1 if args["share_location"] else classes)
    got, wanted = detect(args, loc, conf, priors), oracle(args, loc, conf, priors)
    assert got.shape == wanted.shape
    np.testing.assert_array_equal(got[..., :3], wanted[..., :3])
    np.testing.assert_allclose(got[..., 3:], wanted[..., 3:], rtol=1e-5, atol=1e-6)


def test_best_scores_of_all_classes_stay_the_lower_class_first():
    _, _, priors = blobs(1, 2, 3)
    scores = np.array([[0, 0.5, 0.5, 0, 0.5, 0.75]], np.float32)
    rows = detect(arguments(3, keep_top_k=2, nms_threshold=2.0), np.zeros((1, 8), np.float32), scores, priors)
    np.testing.assert_array_equal(rows[0, 0, :, 1:3], [[1, 0.5], [2, 0.75]])


def test_score_at_the_threshold_does_not_count():
    _, _, priors = blobs(1, 3, 2)
    scores = np.array([[0, 0.5, 0, np.nextafter(np.float32(0.5), np.float32(1)), 0, 0.25]], np.float32)
    rows = detect(arguments(2, confidence_threshold=0.5), np.zeros((1, 12), np.float32), scores, priors)
    assert rows.shape == (1, 1, 1, 7)


def test_nan_scores_are_no_detections():
    loc, conf, priors = blobs(1, 40, 3)
    conf[0, ::7] = np.nan
    rows = detect(arguments(3), loc, conf, priors)
    np.testing.assert_allclose(rows, oracle(arguments(3), loc, conf, priors), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_boxes_may_be_anything(value):
    loc, conf, priors = blobs(1, 40, 3)
    loc[0, ::3] = value
    first, second = (detect(arguments(3), loc, conf, priors) for _ in range(2))
    assert first.shape[2] > 0
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("code_type", ["center_size", "corner_size"])
@pytest.mark.parametrize(("column", "value"), [(2, -1), (3, 0), (0, np.nan)])
def test_prior_without_a_size_is_refused(code_type, column, value):
    loc, conf, priors = blobs(1, 5, 2)
    priors[0, 0, 3 * 4 + column] = value if column != 3 else priors[0, 0, 3 * 4 + 1]
    with pytest.raises(DataError, match=r"prior box 3 has width .* and height .*; both must be > 0"):
        detect(arguments(2, code_type=code_type), loc, conf, priors)
    detect(arguments(2, code_type="corner"), loc, conf, priors)


@pytest.mark.parametrize(("images", "priors"), [(0, 4), (3, 0)])
def test_nothing_to_detect(images, priors):
    rows = detect(arguments(3), *blobs(images, priors, 3))
    np.testing.assert_array_equal(
        rows, [[[[image] + [-1] * 6 for image in range(images)]]] if images else rows
    )
    assert rows.shape == (1, 1, images, 7)


def test_boxes_stay_exact_in_a_bfloat16_plan():
    loc, conf, priors = blobs(2, 20, 3)
    tops = []
    for precision in ("float32", "bfloat16"):
        net = layer_net(
            f'type: "DetectionOutput" detection_output_param {{ {COMMON} }}', loc, conf, priors,
            precision=precision,
        )  # fmt: skip
        net.forward()
        tops.append(net.blobs["t0"].data.copy())
    np.testing.assert_array_equal(*tops)


def test_there_is_no_gradient():
    with pytest.raises(ConfigError, match="no gradient"):
        run("DetectionOutput", arguments(3), *blobs(1, 4, 3), top_diffs=[np.zeros((1, 1, 1, 7), np.float32)])


def test_an_image_is_accepted_and_not_read():
    bottoms = blobs(1, 9, 3)
    net = layer_net(
        f'type: "DetectionOutput" detection_output_param {{ {COMMON} }}', *bottoms,
        np.full((1, 3, 4, 4), np.nan),
    )  # fmt: skip
    net.forward()
    np.testing.assert_array_equal(net.blobs["t0"].data, detect(arguments(3, nms_threshold=0.3), *bottoms))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("visualize: true", "drawing"),
        ("side: 13", "side is a field of YOLO's"),
        ("objectness_score: 0.01", "RefineDet"),
        ("normalized_bbox: false", "pixels"),
        ("nms_param { nms_threshold: -0.1 }", "nms_threshold must be a number >= 0, got -0.1"),
        ("nms_param { nms_threshold: nan }", "nms_threshold must be a number >= 0, got nan"),
        ("nms_param { eta: 0 }", "eta must be a number > 0 and <= 1, got 0"),
        ("nms_param { eta: 1.5 }", "eta must be a number > 0 and <= 1, got 1.5"),
        (
            'save_output_param { output_directory: "d" label_map_file: "l" name_size_file: "n" }',
            "saving detections",
        ),
    ],
)
def test_what_is_not_supported_is_refused_at_its_place(fields, words):
    text = f"""layer {{ name: "in" type: "Input" top: "loc" top: "conf" top: "priors"
        input_param {{
          shape {{ dim: 1 dim: 4 }} shape {{ dim: 1 dim: 2 }} shape {{ dim: 1 dim: 2 dim: 4 }} }} }}
        layer {{ name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors" top: "out"
          detection_output_param {{ num_classes: 2
            {fields} }} }}"""
    with pytest.raises(ConfigError, match=words) as caught:
        net_from_text(text)
    assert caught.value.line == 6
    assert caught.value.layer == "out"


def test_a_label_map_alone_saves_nothing_and_is_accepted():
    label_map = 'save_output_param { label_map_file: "labelmap_voc.prototxt" }'
    layer_net(f'type: "DetectionOutput" detection_output_param {{ {COMMON} {label_map} }}', *blobs(1, 4, 3))


def test_top_has_room_for_the_most_there_can_be():
    for changes, rows in (
        ({}, 2 * 60),
        ({"top_k": 5}, 2 * 10),
        ({"keep_top_k": 7}, 2 * 7),
        ({"top_k": 0}, 2),
    ):
        args = "".join(f"{name}: {value} " for name, value in changes.items() if name == "keep_top_k")
        args += f"nms_param {{ nms_threshold: {math.inf} top_k: {changes.get('top_k', -1)} }}"
        net = layer_net(
            f'type: "DetectionOutput" detection_output_param {{ {COMMON} {args} }}', *blobs(2, 30, 3)
        )
        assert net.blobs["t0"].data.shape == (1, 1, rows, 7)
        net.forward()
        assert net.blobs["t0"].data.shape == (1, 1, rows, 7)
