"""A deploy net run by ONNX Runtime, OpenVINO or OpenCV, from one ONNX model, each set up for latency."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from .onnx_net import write_onnx
from .synthetic import make_graph, make_inputs
from .task import Task

Arrays = list[npt.NDArray[Any]]


class OnnxRuntimeInference:
    """Inputs and outputs are bound once, so that a step allocates nothing."""

    def __init__(self, model: bytes, inputs: Arrays, task: Task) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = _threads(), 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        for place, values in zip(self.session.get_inputs(), inputs):
            self.binding.bind_cpu_input(place.name, values)
        for place in self.session.get_outputs():
            self.binding.bind_output(place.name)

    def step(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def outputs(self) -> Arrays:
        return list(self.binding.copy_outputs_to_cpu())


class OpenVinoInference:
    """Precision is always told: left alone, OpenVINO would choose bfloat16 where the processor has it."""

    def __init__(self, model: bytes, inputs: Arrays, task: Task) -> None:
        import openvino

        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(_threads()),
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[task.precision],
        }
        compiled = core.compile_model(core.read_model(model), "CPU", settings)
        self.request = compiled.create_infer_request()
        self.values = inputs  # the tensors below borrow this memory and do not keep it alive
        for index, values in enumerate(inputs):
            self.request.set_input_tensor(index, openvino.Tensor(values, shared_memory=True))
        self.count = len(compiled.outputs)

    def step(self) -> None:
        self.request.infer()

    def outputs(self) -> Arrays:
        return [self.request.get_output_tensor(index).data for index in range(self.count)]


class OpenCvInference:
    """OpenCV 5 reads no Caffe files any more, hence ONNX here as well."""

    def __init__(self, model: bytes, inputs: Arrays, task: Task) -> None:
        import cv2

        cv2.setNumThreads(_threads())
        self.net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        self.values = inputs
        self.result: Any = None

    def step(self) -> None:
        self.net.setInput(self.values[0])
        self.result = self.net.forward()

    def outputs(self) -> Arrays:
        return [self.result]


def _threads() -> int:
    return int(os.environ["OMP_NUM_THREADS"])


_ENGINES = {
    "onnxruntime": OnnxRuntimeInference,
    "openvino": OpenVinoInference,
    "opencv": OpenCvInference,
}


def make_engine(task: Task) -> OnnxRuntimeInference | OpenVinoInference | OpenCvInference:
    """Build what runs the task."""
    graph = make_graph(task)
    return _ENGINES[task.engine](write_onnx(graph), list(make_inputs(graph).values()), task)
