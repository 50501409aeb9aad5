"""Speed and memory beside other engines on the same net, on the same machine, in the same run."""
