"""From a graph to what the executor runs. Each pass is a function from Graph to Graph; `make_plan` chains them."""
