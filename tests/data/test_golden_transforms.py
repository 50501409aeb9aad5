"""Batches equal, bit for bit, those recorded from Caffe's Data layer."""

import numpy as np
import pytest
from data_records import GOLDEN as FILES
from google.protobuf import text_format
from helpers.golden import GOLDEN

from pycaffe_like.data.database_images import DatabaseImages
from pycaffe_like.data.lmdb_database import open_database
from pycaffe_like.data.loader import image_loader
from pycaffe_like.data.transformer import Transformer
from pycaffe_like.prototxt import schema

RECORDED = np.load(FILES / "transform.npz")


@pytest.fixture
def in_golden_folder(monkeypatch):
    """The folder the recorded nets name their files from."""
    monkeypatch.chdir(GOLDEN)


@pytest.mark.usefixtures("in_golden_folder")
@pytest.mark.parametrize("layout", ["channels_last", "plain"])
@pytest.mark.parametrize("case", range(int(RECORDED["count"])))
def test_batch_equals_recorded_batch(case, layout):
    net = text_format.Parse(str(RECORDED[f"{case}/prototxt"]), schema.NetParameter())
    layer = net.layer[0]
    loader = image_loader(
        DatabaseImages(open_database(layer.data_param.source)),
        Transformer(layer.transform_param, phase=schema.TEST),
        layer.data_param.batch_size,
        layout=layout,
    )
    with loader:
        batch = loader.next()
        assert loader.shapes == [array.shape for array in batch.arrays]
        np.testing.assert_array_equal(batch.arrays[1], RECORDED[f"{case}/top1"])
        np.testing.assert_array_equal(batch.arrays[0], RECORDED[f"{case}/top0"])
