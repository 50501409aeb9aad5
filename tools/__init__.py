"""The `caffe` command and its subcommands, one module each."""
