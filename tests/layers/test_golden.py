"""Every layer against numbers that BVLC Caffe 1.0 computed."""

import numpy as np
import pytest
from helpers.golden import GOLDEN, assert_close, layer_cases

import caffe
from pycaffe_like.testing import net_from_text

NOT_SUPPORTED = {"backend: LEVELDB": "LevelDB databases are not read"}


def reason_to_skip(case):
    if "quirk" in case.meta:
        return f"differs from Caffe on purpose: {case.meta['quirk']}"
    return next((reason for text, reason in NOT_SUPPORTED.items() if text in case.prototxt), None)


class Replay:
    """The recorded net, built anew."""

    def __init__(self, case):
        self.case = case
        self.net = net_from_text(case.prototxt, caffe.TRAIN if case.phase == "TRAIN" else caffe.TEST)
        self.bottoms, self.tops = case.meta["bottoms"], case.meta["tops"]
        self.params = self.net.params.get("L", [])
        self.compared = 0

    def run(self):
        self._set_params(self.case.passes[0])
        for number, record in enumerate(self.case.passes):
            self._fill(record)
            self._forward(record, f"pass {number}")
            if self.case.meta["backward"]:
                self._backward(record, f"pass {number}")

    def _set_params(self, record):
        wanted = record.numbered("param")
        if wanted:
            assert len(self.params) == len(wanted)
        for index, values in wanted.items():
            assert tuple(self.params[index].shape) == values.shape
            self.params[index].data[...] = values

    def _fill(self, record):
        inputs = {self.bottoms[index]: values for index, values in record.numbered("bottom").items()}
        if self.case.type == "Input":
            inputs = {self.tops[index]: values for index, values in record.numbered("top").items()}
        if any(tuple(self.net.blobs[name].shape) != values.shape for name, values in inputs.items()):
            for name, values in inputs.items():
                self.net.blobs[name].reshape(*values.shape)
            self.net.reshape()
        for name, values in inputs.items():
            self.net.blobs[name].data[...] = values

    def _forward(self, record, when):
        self.net.clear_param_diffs()
        loss = self.net.forward_loss()
        for index, wanted in record.numbered("top").items():
            self._compare(self.net.blobs[self.tops[index]].data, wanted, f"{when}: top {index}")
        for index, wanted in record.numbered("param_after").items():
            self._compare(self.params[index].data, wanted, f"{when}: param {index} after forward")
        if "loss" in record.arrays:
            self._compare(np.float64(loss), record.arrays["loss"], f"{when}: loss")

    def _backward(self, record, when):
        for index, values in record.numbered("topdiff").items():
            self.net.blobs[self.tops[index]].diff[...] = values
        self.net.backward()
        for index, wanted in record.numbered("bottomdiff").items():
            self._compare(self.net.blobs[self.bottoms[index]].diff, wanted, f"{when}: bottom diff {index}")
        for index, wanted in record.numbered("paramdiff").items():
            self._compare(self.params[index].diff, wanted, f"{when}: param diff {index}")

    def _compare(self, got, wanted, what):
        assert_close(got, wanted, self.case.type, what)
        self.compared += 1


@pytest.mark.parametrize("case", list(layer_cases()), ids=str)
def test_layer_repeats_what_caffe_computed(case, monkeypatch):
    if reason := reason_to_skip(case):
        pytest.skip(reason)
    monkeypatch.chdir(GOLDEN)
    replay = Replay(case)
    replay.run()
    assert replay.compared or case.type == "Silence", "the recording holds nothing to compare"
