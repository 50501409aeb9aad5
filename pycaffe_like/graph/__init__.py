"""From a parsed net to a graph: filter by phase, insert splits, build nodes, decide what runs backward.

`build_graph` in `build.py` is the entry; each other module is one step of it.
"""
