"""A task run by PyTorch, each part in its fastest setting."""

from __future__ import annotations

import time
from typing import Any

import numpy.typing as npt
import torch
from torch.fx.experimental.optimization import fuse

from .settings import MOMENTUM, RATE, WEIGHT_DECAY
from .synthetic import make_graph, make_inputs
from .task import Task
from .torch_net import TorchNet


def _make_tensors(graph: Any, device: str) -> list[torch.Tensor]:
    tensors = (torch.from_numpy(values).to(device) for values in make_inputs(graph).values())
    return [
        tensor.long() if tensor.ndim == 1 else tensor.contiguous(memory_format=torch.channels_last)
        if tensor.ndim == 4 else tensor
        for tensor in tensors
    ]  # fmt: skip


class TorchTraining:
    """Steps of a usual training loop."""

    def __init__(self, task: Task, rate: float = RATE) -> None:
        graph = make_graph(task)  # not kept: its weights are no part of PyTorch's memory
        self.device = task.peers_device
        if self.device == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cudnn.allow_tf32 = False  # float32 means float32; bfloat16 does not ask
        self.inputs = _make_tensors(graph, self.device)
        self.net = TorchNet(graph)
        self.net.module.to(self.device)
        self.loss = torch.tensor(float("nan"))
        self.module = torch.compile(self.net.module) if task.engine == "compile" else self.net.module
        self.autocast = task.precision == "bfloat16"
        self.optimizer = self._fastest_optimizer(rate)

    def step(self) -> torch.Tensor:
        """One iteration; returns the loss."""
        self.loss = self.compute_gradients()
        self.optimizer.step()
        return self.loss

    def finish(self) -> float:
        """Wait for all that is queued; returns the last loss."""
        _synchronize(self.device)
        return float(self.loss)

    def device_bytes(self) -> dict[str, int]:
        """The most that tensors took since `reset_peak`, and that the allocator held for them."""
        if self.device == "cpu":
            return {}
        return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}

    def reset_peak(self) -> None:
        """Forget the trials of algorithms."""
        if self.device == "cuda":
            _synchronize(self.device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def compute_gradients(self) -> torch.Tensor:
        """Forward and backward; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            loss = self.module(*self.inputs)
        loss.backward()
        return loss.detach()

    def double(self) -> TorchTraining:
        """Turn to float64, to tell rounding from mistakes; returns self."""
        self.net.module.double()
        self.inputs = [tensor.double() if tensor.is_floating_point() else tensor for tensor in self.inputs]
        return self

    def gradient(self, place: tuple[str, int], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Gradient of a learned blob, (layer, index), in the blob's shape."""
        gradient = self.net.params[place].grad
        assert gradient is not None
        return gradient.cpu().numpy().reshape(shape)

    def _fastest_optimizer(self, rate: float) -> torch.optim.Optimizer:
        """Try the three implementations of SGD with a rate of 0, and keep the fastest."""
        choices = [{"foreach": False}, {"foreach": True}, {"fused": True}]
        best = min(
            choices, key=lambda choice: _time_optimizer(self._make_optimizer(0, 0, choice), self.device)
        )
        for parameter in self.net.multipliers:
            parameter.grad = None
        return self._make_optimizer(rate, WEIGHT_DECAY, best)

    def _make_optimizer(self, rate: float, decay: float, choice: dict[str, bool]) -> torch.optim.Optimizer:
        groups = self.net.parameter_groups(rate, decay)
        return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, **choice)


class TorchGraphTraining(TorchTraining):
    """Each step one launch: all its kernels are recorded as a CUDA graph after some steps of warming up."""

    def __init__(self, task: Task, rate: float = RATE, warm_up: int = 3) -> None:
        super().__init__(task, rate)
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(warm_up):
                super().step()
        torch.cuda.current_stream().wait_stream(beside)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            super().step()

    def step(self) -> torch.Tensor:
        """One iteration; returns the loss."""
        self.graph.replay()
        return self.loss


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _time_optimizer(optimizer: torch.optim.Optimizer, device: str, steps: int = 4) -> float:
    """Time the fastest of some steps, in seconds; the first one makes the history."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    times = []
    for _ in range(steps):
        _synchronize(device)
        start = time.perf_counter()
        optimizer.step()
        _synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


class TorchInference:
    """Forward passes without gradients, BatchNorm folded into the convolutions."""

    def __init__(self, task: Task) -> None:
        graph = make_graph(task)
        dtype = torch.bfloat16 if task.precision == "bfloat16" else torch.float32
        self.inputs = [tensor.to(dtype) for tensor in _make_tensors(graph, "cpu")]
        module: Any = fuse(TorchNet(graph).module.eval())
        self.module = module.to(dtype=dtype, memory_format=torch.channels_last)
        if task.engine == "compile":
            self.module = torch.compile(self.module, options={"freezing": True})

        self.result: tuple[torch.Tensor, ...] = ()

    @torch.inference_mode()
    def step(self) -> None:
        """One pass."""
        self.result = self.module(*self.inputs)

    def outputs(self) -> list[npt.NDArray[Any]]:
        """Outputs of the last pass."""
        return [output.float().numpy() for output in self.result]


def make_engine(task: Task) -> TorchTraining | TorchInference:
    """Build what runs the task."""
    if task.mode == "infer":
        return TorchInference(task)
    return TorchGraphTraining(task) if task.engine == "graph" else TorchTraining(task)
