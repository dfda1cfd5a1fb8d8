"""Where molecules lie, how they are read, and the batches made of them."""
