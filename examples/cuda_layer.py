"""A layer with CUDA kernels of one's own, written in Python: Mish, y = x tanh(log(1 + exp(x))).

Needs a GPU, CUDA's compiler nvcc, and PyCUDA: pip install 'pycaffe-like[pycuda]'.
Reference: D. Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019.
"""

import numpy as np

import caffe
from pycaffe_like.testing import net_from_text

KERNELS = """
// x, y: (n)
__global__ void mish_forward(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] * tanhf(log1pf(expf(x[i])));
}

// x, dy, dx: (n)
__global__ void mish_backward(const float* x, const float* dy, float* dx, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float t = tanhf(log1pf(expf(x[i])));
  const float sigmoid = 1 / (1 + expf(-x[i]));
  dx[i] = dy[i] * (t + x[i] * sigmoid * (1 - t * t));
}
"""
THREADS = 256


class Mish(caffe.Layer):
    """The methods without `_gpu` run in nets on the CPU."""

    def setup(self, bottom, top):
        """Compile the kernels, if the net is on the GPU."""
        if bottom[0].device == "cuda":
            from pycuda.compiler import SourceModule

            with caffe.pycuda_context():
                self.kernels = SourceModule(KERNELS)

    def reshape(self, bottom, top):
        """Give the top the shape of the bottom."""
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        """Compute y."""
        x = bottom[0].data
        top[0].data[...] = x * np.tanh(np.logaddexp(0, x))

    def backward(self, top, propagate_down, bottom):
        """Compute dx."""
        if propagate_down[0]:
            x = bottom[0].data
            t = np.tanh(np.logaddexp(0, x))
            bottom[0].diff[...] = top[0].diff * (t + x * (1 - t * t) / (1 + np.exp(-x)))

    def forward_gpu(self, bottom, top):
        """Compute y on the GPU."""
        self.launch("mish_forward", bottom[0].gpu_data, top[0].gpu_data)

    def backward_gpu(self, top, propagate_down, bottom):
        """Compute dx on the GPU."""
        if propagate_down[0]:
            self.launch("mish_backward", bottom[0].gpu_data, top[0].gpu_diff, bottom[0].gpu_diff)

    def launch(self, name, *arrays):
        """Queue a kernel; a thread computes one number."""
        count = int(np.prod(arrays[0].shape))
        blocks = (count + THREADS - 1) // THREADS
        kernel = self.kernels.get_function(name)
        kernel(*arrays, np.int32(count), block=(THREADS, 1, 1), grid=(blocks, 1))


def mish_net(count):
    """Make a net of an input and the layer."""
    return net_from_text(f"""
        force_backward: true
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: {count} }} }} }}
        layer {{ name: "mish" type: "Python" bottom: "x" top: "y"
          python_param {{ module: "cuda_layer" layer: "Mish" }} }}
    """)


def run(net, x):
    """Return y, and dx for gradients of 1."""
    net.blobs["x"].data[...] = x
    net.forward()
    net.blobs["y"].diff[...] = 1
    net.backward()
    return net.blobs["y"].data.copy(), net.blobs["x"].diff.copy()


def main():
    """Compare the GPU with the CPU."""
    x = np.linspace(-20, 20, 100_001, dtype=np.float32)
    results = []
    for set_mode in (caffe.set_mode_cpu, caffe.set_mode_gpu):
        set_mode()
        results.append(run(mish_net(len(x)), x))
    for name, cpu, gpu in zip(("y", "dx"), *results):
        print(f"{name}: GPU and CPU differ by at most {abs(cpu - gpu).max():.1g}")


if __name__ == "__main__":
    main()
