"""Caffe's module name, over `pycaffe_like`: scripts that `import caffe` run unchanged."""
