"""Caffe, reborn: nets and solvers declared in prototxt, planned ahead, run by C++ layers."""
