"""Layers written in Python, for nets of the tests."""

from __future__ import annotations

import caffe


class Scaled(caffe.Layer):
    """A learned number times each bottom; zeros in tops that have no bottom."""

    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = 2 if self.param_str == "twice" else 1.5

    def reshape(self, bottom, top):
        for index, blob in enumerate(top):
            blob.reshape(*(bottom[index].shape if index < len(bottom) else (2, 3)))

    def forward(self, bottom, top):
        for below, above in zip(bottom, top):
            above.data[...] = self.blobs[0].data * below.data

    def backward(self, top, propagate_down, bottom):
        for below, above, wanted in zip(bottom, top, propagate_down):
            self.blobs[0].diff[...] += (above.diff * below.data).sum()
            if wanted:
                below.diff[...] = self.blobs[0].data * above.diff
