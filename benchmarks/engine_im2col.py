"""The matrix layers of a net as Caffe computes them on a CPU, and nothing else of it.

Not Caffe, but its algorithm in NumPy with NumPy's OpenBLAS: for each image, `im2col` and one sgemm a group;
for the weight gradient `im2col` again, for the data gradient `col2im`; one sgemm a batch for an inner
product. No activation, pooling, normalisation, loss or update: what is left out costs Caffe time as well, so
ratios to this peer are below those to Caffe.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from pycaffe_like.graph.nodes import Node

from .synthetic import SEED, make_graph
from .task import Task

Array = npt.NDArray[np.float32]


class Convolution:
    """One layer's blobs and buffers; shapes as in Caffe, (N, C, H, W)."""

    def __init__(
        self, x: Array, weights: Array, bias: Array | None, top: list[int], how: dict[str, Any]
    ) -> None:
        self.x, self.bias = x, bias
        self.y, self.dy = np.zeros(top, np.float32), np.ones(top, np.float32)
        self.dx, self.dw, self.db = np.zeros_like(x), np.zeros_like(weights), np.zeros(top[1], np.float32)
        self.pad, self.stride, self.dilation = how["pad"], how["stride"], how["dilation"]
        self.groups = how["group"]
        self.weights = weights
        _, channels, height, width = x.shape
        self.kernel = weights.shape[2:]
        size = height + 2 * self.pad[0], width + 2 * self.pad[1]
        self.padded = np.zeros((channels, *size), np.float32)  # its border stays zero
        self.padded_diff = np.zeros_like(self.padded)
        self.columns = np.empty((channels, *self.kernel, *top[2:]), np.float32)
        self.pointwise = self.columns[:, 0, 0].shape == x.shape[1:] and self.kernel == (1, 1)

    def forward(self) -> None:
        for image, result in zip(self.x, self.y):
            columns = self._grouped(self._im2col(image))
            np.matmul(self._grouped(self.weights), columns, out=self._grouped(result))
            if self.bias is not None:
                result += self.bias[:, None, None]

    def backward(self, *, data: bool) -> None:
        """Add up the gradients of the weights; with `data`, compute that of the bottom."""
        dw = self._grouped(self.dw)
        for image, dx, dy in zip(self.x, self.dx, self.dy):
            gradient = self._grouped(dy)
            dw += gradient @ self._grouped(self._im2col(image)).transpose(0, 2, 1)
            if self.bias is not None:
                self.db += dy.sum(axis=(1, 2))
            if data:
                columns = dx if self.pointwise else self.columns
                weights = self._grouped(self.weights).transpose(0, 2, 1)
                np.matmul(weights, gradient, out=self._grouped(columns))
                if not self.pointwise:
                    self._col2im(dx)

    def _grouped(self, array: Array) -> Array:
        """As matrices, one a group: (G, rows, columns)."""
        if array is self.weights or array is self.dw:
            return array.reshape(self.groups, len(array) // self.groups, -1)
        return array.reshape(self.groups, -1, math.prod(self.y.shape[2:]))

    def _im2col(self, image: Array) -> Array:
        if self.pointwise:
            return image
        self._inner(self.padded)[...] = image
        for index, window in self._windows(self.padded):
            self.columns[(slice(None), *index)] = window
        return self.columns

    def _col2im(self, image: Array) -> None:
        self.padded_diff[...] = 0
        for index, window in self._windows(self.padded_diff):
            window += self.columns[(slice(None), *index)]
        image[...] = self._inner(self.padded_diff)

    def _inner(self, padded: Array) -> Array:
        (top, left), (_, height, width) = self.pad, self.x.shape[1:]
        return padded[:, top : top + height, left : left + width]

    def _windows(self, padded: Array) -> Any:
        """Views of a padded image: the values that each weight of the kernel meets."""
        for row, column in np.ndindex(*self.kernel):
            top, left = row * self.dilation[0], column * self.dilation[1]
            yield (row, column), self._strided(padded[:, top:, left:])

    def _strided(self, image: Array) -> Array:
        channel, row, column = image.strides
        strides = (channel, row * self.stride[0], column * self.stride[1])
        return as_strided(image, (len(image), *self.y.shape[2:]), strides)


class InnerProduct:
    """x: (N, K), weights: (M, K)."""

    def __init__(self, x: Array, weights: Array, bias: Array | None) -> None:
        self.x, self.weights, self.bias = x, weights, bias
        self.y = np.zeros((len(x), len(weights)), np.float32)
        self.dy = np.ones_like(self.y)
        self.dx, self.dw, self.db = (
            np.zeros_like(x),
            np.zeros_like(weights),
            np.zeros(len(weights), np.float32),
        )

    def forward(self) -> None:
        np.matmul(self.x, self.weights.T, out=self.y)
        if self.bias is not None:
            self.y += self.bias

    def backward(self, *, data: bool) -> None:
        """Compute the gradients of the weights, and with `data` that of the bottom."""
        np.matmul(self.dy.T, self.x, out=self.dw)
        if self.bias is not None:
            self.db += self.dy.sum(axis=0)
        if data:
            np.matmul(self.dy, self.weights, out=self.dx)


class MatrixLayers:
    """All convolutions and inner products of a net, on random data."""

    def __init__(self, task: Task) -> None:
        graph = make_graph(task)
        self.training = graph.training
        random = np.random.default_rng(SEED)
        nodes = [node for node in graph.nodes if node.definition.type in ("Convolution", "InnerProduct")]
        self.layers = [(_make_layer(node, random), node.propagate_down[0]) for node in nodes]

    def step(self) -> None:
        """Forward, and in training backward."""
        for layer, _ in self.layers:
            layer.forward()
        if self.training:
            for layer, data in reversed(self.layers):
                layer.backward(data=data)


def _make_layer(node: Node, random: np.random.Generator) -> Convolution | InnerProduct:
    weights, *rest = (param.blob.data.copy() for param in node.params)
    bias = rest[0] if rest else None
    x = random.standard_normal(node.bottoms[0].shape, dtype=np.float32)
    if node.definition.type == "InnerProduct":
        return InnerProduct(x.reshape(-1, weights.shape[1]), weights, bias)
    how = node.kind.arguments(node.definition, [value.shape for value in node.bottoms])
    return Convolution(x, weights, bias, node.tops[0].shape, how)


def make_engine(task: Task) -> MatrixLayers:
    """Build what runs the task."""
    return MatrixLayers(task)
