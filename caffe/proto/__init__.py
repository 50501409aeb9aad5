"""Caffe's messages, at the place where scripts look for them."""
