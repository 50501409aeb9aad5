"""The oracles of layer tests that are ours agree with PyTorch's, where that is installed."""

import numpy as np
import pytest
from helpers.direct import rounded
from helpers.oracle import torch


def test_rounding_to_bfloat16_is_pytorchs():
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = (np.arange(0x10000, dtype=np.uint32) << 16) + 0x8000
    values = np.concatenate([bits, ties, ties - 1, ties + 1]).view(np.float32)
    values = values[~np.isnan(values)]
    wanted = torch.tensor(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(rounded(values, "bfloat16").view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (257.0, 256.0), (259.0, 260.0), (1001.0, 1000.0), (-1.00390625, -1.0), (3.4e38, np.inf),
        (-np.inf, -np.inf), (np.nan, np.nan), (1e-45, 0.0), (0.5, 0.5),
    ],
)  # fmt: skip
def test_rounding_takes_the_even_one_of_two(value, wanted):
    np.testing.assert_array_equal(rounded(value, "bfloat16"), np.float32(wanted))
