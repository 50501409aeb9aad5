"""Caffe's module name, over `pycaffe_like`: scripts that `import caffe` run unchanged."""

from pycaffe_like import *  # noqa: F403
from pycaffe_like import __version__  # noqa: F401
