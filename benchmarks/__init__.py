"""Speed and memory against PyTorch on the same net, on the same machine, in the same run."""
