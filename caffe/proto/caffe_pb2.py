"""Caffe's messages under the name that protoc gave them: `caffe_pb2.NetParameter`, `caffe_pb2.TRAIN`."""

from pycaffe_like.prototxt import schema as _schema

__all__ = [name for name in _schema.__all__ if name != "message_class"]
globals().update({name: getattr(_schema, name) for name in __all__})
