"""From a graph to what the executor runs: passes from Graph to Graph, chained by `make_plan`."""
