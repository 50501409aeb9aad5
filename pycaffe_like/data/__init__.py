"""Records, databases and the batches made from them."""
