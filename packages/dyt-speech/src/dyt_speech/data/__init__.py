"""Where recordings lie, how they are split and decoded, and the batches made of them."""
