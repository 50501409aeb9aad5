"""Caffe's Python interface."""
