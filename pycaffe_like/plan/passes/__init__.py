"""The passes of the planner, one a module: Graph -> Graph."""
