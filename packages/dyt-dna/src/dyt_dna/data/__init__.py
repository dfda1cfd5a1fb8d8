"""Where sequences lie, how they are read and split, and the batches made of them."""
