"""Constants of the solver, the same for every contender."""

RATE = 1e-3
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
