"""How a net is built and planned, beyond what its prototxt says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetOptions:
    """How a net is built and planned, beyond what its prototxt says.

    Attributes
    ----------
    seed : int, optional
        Seed of fillers and layers; drawn from `set_random_seed`'s sequence or from entropy when not given.
    precision : {"float32", "tf32", "bfloat16"}
        Element type of activations; "tf32" is float32 whose matrix layers round factors on the GPU.
    device : {"cpu", "cuda"}, optional
        Where the layers run; as `set_mode_gpu` or `set_mode_cpu` said last when not given.
    fill : bool
        False leaves learned blobs without values and memory, to look at shapes and sizes only.
    skip_passes : tuple of str
        Passes of the planner to leave out, of `plan.chain.optional_passes()`.
    keep_data : bool
        False lets the data of intermediate blobs take turns in memory: only inputs, outputs and losses can
        be read after forward, and a net built for phase TEST runs forward only.
    keep_diffs : bool
        False lets the gradients of intermediate blobs take turns in memory: they cannot be read after
        backward.
    max_memory : int, optional
        Bytes the net may need; data is made again in backward where it would need more. Takes keep_data and
        keep_diffs False.
    history_sets : int
        Arrays that a solver will add for each learned blob; they count in `max_memory`.
    """

    seed: int | None = None
    precision: str = "float32"
    device: str | None = None
    fill: bool = True
    skip_passes: tuple[str, ...] = ()
    keep_data: bool = True
    keep_diffs: bool = True
    max_memory: int | None = None
    history_sets: int = 0
