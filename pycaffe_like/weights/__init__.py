"""Caffe's binary files: weights, single blobs, solver states."""
