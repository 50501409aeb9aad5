"""One module a layer type: what its prototxt parameters mean. The folder is walked; there is no list."""
